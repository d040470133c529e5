"""Records: what Aiki knows about runs, tasks, events and workers; the wire format too."""
