"""News of ready runs: it has no authority, and may be lost, doubled or late."""
