"""Generated code, in folders that are named after its packages."""
