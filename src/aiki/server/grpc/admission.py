"""Admission: who calls, in which namespace and protocol, and whether there is room for the call."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from aiki.engine.engine import VERSION
from aiki.errors import IncompatiblePeer, InvalidRequest, ServerBusy
from aiki.model.audit import Principal
from aiki.operations.base import Role
from aiki.operations.catalog import PROTOCOL
from aiki.server.access import Access
from aiki.server.grpc.refusals import Context, Denied
from aiki.server.grpc.settings import GrpcSettings

PROTOCOL_KEY = b"aiki-protocol"
_VERSION_KEY = b"aiki-version"
_IDEMPOTENCY_KEY = b"idempotency-key"
_VERSION_LENGTH = 40


class Caller(NamedTuple):
    """What the metadata of a call says."""

    principal: Principal
    idempotency_key: str | None


class Room:
    """Counts those inside, and refuses whoever comes when it is full."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._taken = 0

    @contextmanager
    def place(self) -> Generator[None]:
        """Take a place; raises `ServerBusy` when there is none."""
        if self._taken >= self._limit:
            raise ServerBusy(
                f"{self._limit} {self._what} are here already, as many as this server takes; "
                "repeat the call after a moment"
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Admission:
    """Lets calls in."""

    def __init__(self, settings: GrpcSettings) -> None:
        self._access = Access(settings.tokens, settings.roles)
        self.calls = Room("calls", settings.max_calls)
        self.waiting = Room("waiting calls", settings.max_waiting)
        self.sessions = Room("sessions", settings.max_sessions)

    def admit(self, context: Context, role: Role) -> Caller:
        """Who calls; raises `Unauthorized`, `IncompatiblePeer`, or `Denied` without the role."""
        metadata = _metadata(context)
        _check_protocol(metadata)
        principal = self._access.principal(metadata)
        if principal.roles.isdisjoint({"admin", role}):
            raise Denied(f"{principal.name} lacks the role {role}")
        key = metadata.get(_IDEMPOTENCY_KEY)
        return Caller(principal, None if key is None else key.decode("utf-8", "replace"))


def _metadata(context: Context) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, value in context.invocation_metadata() or ():
        found[key.encode()] = value if isinstance(value, bytes) else value.encode()
    return found


def _check_protocol(metadata: Mapping[bytes, bytes]) -> None:
    """Who does not say what it speaks knows this protocol from the server's reflection."""
    given = metadata.get(PROTOCOL_KEY)
    if given is None:
        return
    if not given.isdigit():
        raise InvalidRequest(f"the metadata {PROTOCOL_KEY.decode()} is not a number")
    if int(given) not in (PROTOCOL, PROTOCOL - 1) or int(given) < 1:
        version = metadata.get(_VERSION_KEY, b"of an unknown version").decode("ascii", "replace")
        raise IncompatiblePeer(
            f"the client (Aiki {version[:_VERSION_LENGTH]}) speaks protocol {int(given)}, this "
            f"server (Aiki {VERSION}) speaks {PROTOCOL}: bring both to versions that fit"
        )
