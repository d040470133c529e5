"""Events: named, typed messages to a run."""

from __future__ import annotations

from typing import Any, Generic, TypeGuard, TypeVar, overload

from aiki.errors import DefinitionError
from aiki.model import limits
from aiki.workflow.calls import is_storable
from aiki.workflow.codec import codec_for

T = TypeVar("T")


class Event(Generic[T]):
    """A kind of message that a run can wait for."""

    def __init__(self, name: str, schema: object) -> None:
        if not name or len(name) > limits.NAME_LENGTH or "|" in name or not is_storable(name):
            raise DefinitionError(
                f"event name {name!r}: 1 to {limits.NAME_LENGTH} characters, and no '|'"
            )
        self.name = name
        self.codec = codec_for(schema, f"event {name}")

    def __repr__(self) -> str:
        return f"event({self.name!r})"


@overload
def event(name: str) -> Event[None]: ...
@overload
def event(name: str, payload: type[T]) -> Event[T]: ...
@overload
def event(name: str, *, schema: object) -> Event[Any]: ...
def event(name: str, payload: object = None, *, schema: object = None) -> Event[Any]:
    """Define an event; `schema` takes what is no class, such as `int | None`.

    Raises `DefinitionError` for a payload type that cannot be encoded.
    """
    if payload is not None and schema is not None:
        raise DefinitionError(f"event {name!r}: give a payload type or a schema, not both")
    chosen = payload if payload is not None else schema
    return Event(name, type(None) if chosen is None else chosen)


class Received(Generic[T]):
    """An event that `wait_any` took."""

    __slots__ = ("data", "event")
    __match_args__ = ("event", "data")

    def __init__(self, event: str, data: T) -> None:
        self.event = event
        self.data = data

    def __repr__(self) -> str:
        return f"Received({self.event!r}, {self.data!r})"


def is_event(got: Received[Any], ev: Event[T]) -> TypeGuard[Received[T]]:
    """Narrows what `wait_any` returned."""
    return got.event == ev.name
