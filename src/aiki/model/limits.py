"""What Aiki accepts: one number for each thing that could grow without bound."""

NAME_LENGTH = 200
"""Characters in the name of a workflow, version, task, event, shard, key or namespace."""

PRIORITY = 1_000_000
"""A run's priority lies between this and its negative."""

PAYLOAD_BYTES = 2 * 1024 * 1024
"""Bytes of one encoded value."""

PAYLOAD_DEPTH = 64
"""Levels of nesting in one encoded value."""

ERROR_TEXT_BYTES = 32 * 1024
"""Bytes that are kept of a message or a traceback."""

ERROR_CAUSES = 8
"""Links that are kept of a chain of causes."""

ENTRIES_PER_RUN = 100_000
"""Recorded facts of one attempt of a run."""

CHILDREN_PER_RUN = 10_000
"""Children that one attempt of a run may start."""

BULK_ITEMS = 10_000
"""Items in one bulk call."""

PAGE_ITEMS = 1_000
"""Rows of one page of a list."""
