"""The run's logger: silent during replay, and never ahead of the records."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiki.workflow.execution import Execution


class RunLogger(logging.Logger):
    """A line leaves the run only once the entries that it follows from are recorded."""

    def __init__(
        self, name: str, execution: Execution, keep: Callable[[logging.LogRecord], None]
    ) -> None:
        super().__init__(name)
        self.parent = logging.getLogger(name)
        self._execution = execution
        self._keep = keep

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (logging's own name)
        """Nothing is enabled while the code repeats what it did before, or after eviction."""
        execution = self._execution
        if execution.replaying or execution.repeating or execution.closed:
            return False
        assert self.parent is not None
        return self.parent.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Keep the line until it may leave."""
        self._keep(record)
