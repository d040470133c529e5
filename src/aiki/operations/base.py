"""An operation: its fields, what it answers, the least role that may send it, its REST route."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec

R = TypeVar("R")
Role = Literal["viewer", "client", "operator", "worker", "admin"]


class Operation(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One call to the server that answers an `R`; everything a front end needs is declared here."""

    role: ClassVar[Role]
    route: ClassVar[str]
    """Method and path below `/api/v1`, with the fields that the path holds in braces."""
    mutates: ClassVar[bool] = False
    """Takes part in group commit; safe to repeat with the same ids."""
    urgent: ClassVar[bool] = False
    """Reports, parks and heartbeats: never refused for want of room."""


class Api(Protocol):
    """The narrow waist: client and worker speak operations, and nothing else."""

    async def call(self, operation: Operation[R]) -> R:
        """Answer the operation, or raise one of `aiki.errors`."""
        ...

    def fork(self) -> Api:
        """The same server, to be called from another thread's event loop, and closed by it."""
        ...

    async def keep_presence(self, incarnation: str) -> None:
        """Show the server that this worker's process lives, until cancelled; called once for each.

        Where the server would notice anyway, it only waits.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; whatever is in flight is answered first."""
        ...


OPERATIONS: dict[str, type[Operation[Any]]] = {}
"""Every operation by name; filled by `operation`."""

Declared = TypeVar("Declared", bound=type[Operation[Any]])


def operation(cls: Declared) -> Declared:
    """Register the class as an operation of the public API."""
    OPERATIONS[cls.__name__] = cls
    return cls
