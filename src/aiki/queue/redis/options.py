"""How a worker reads Redis Streams: sizes, times and limits."""

from __future__ import annotations

from typing import NamedTuple

from aiki.errors import ConfigurationError

_LONGEST_MS = 86_400_000
_MOST = 10_000


class RedisOptions(NamedTuple):
    """Every time is in milliseconds."""

    claim_min_idle_time_ms: int = 60_000
    """So long must a message have been left alone before it is taken from its worker."""
    claim_interval_ms: int = 5_000
    """Between two looks for such messages, while there is room."""
    block_time_ms: int = 1_000
    """How long Redis holds a read for which there is nothing."""
    batch_size: int | None = None
    """The most messages of one read, however much room there is; none: what there is room for."""
    timeout_ms: int = 5_000
    """Until a command counts as not answered."""
    max_connections: int = 16
    """For commands that answer at once, and as many for reads that wait."""
    parallelism: int = 16
    """The most reads that wait at the same time."""

    def checked(self) -> RedisOptions:
        """Itself; raises `ConfigurationError` for what cannot work."""
        longest = {"batch_size": _MOST, "max_connections": _MOST, "parallelism": _MOST}
        for name, value in self._asdict().items():
            most = longest.get(name, _LONGEST_MS)
            if value is not None and not 1 <= value <= most:
                raise ConfigurationError(f"{name}={value}: from 1 to {most}")
        if self.parallelism > self.max_connections:
            raise ConfigurationError(
                f"parallelism={self.parallelism} needs as many connections: "
                f"max_connections={self.max_connections}"
            )
        return self
