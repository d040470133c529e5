"""Streams: what happens to a run, or in a namespace, as server-sent events.

Each event has an id, from which a client that lost its connection goes on (`Last-Event-ID`). A
reader that is too slow is waited for as long as the transport allows, and nothing piles up for it
meanwhile: the next event is what is true when it has room again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import msgspec

from aiki.errors import InvalidRequest
from aiki.model.audit import Principal
from aiki.model.run import STATUSES, RunResult
from aiki.operations.base import Operation
from aiki.operations.catalog import OVERLAP_MS, Change, GetChanges
from aiki.operations.runs import GetRun
from aiki.server.access import check_role
from aiki.server.bundle import Bundle
from aiki.server.exchange import Exchange, Gone, first_of
from aiki.server.json_body import check_text, decode_query
from aiki.server.problems import Refusal
from aiki.server.service import Service
from aiki.wire.faces import ANSWERS, SAFE_INTEGER

_LAST = b"last-event-id"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_HEARTBEAT = b": heartbeat\n\n"
_encode = msgspec.json.Encoder().encode
_result = ANSWERS.of(RunResult)


def event(name: str, id: str, data: Any) -> bytes:
    """One event; JSON holds no line breaks outside of strings, and in them they are escaped."""
    return f"event: {name}\nid: {id}\ndata: ".encode() + _one_line(_encode(data)) + b"\n\n"


def _one_line(data: bytes) -> bytes:
    """A payload stands as it was sent, perhaps on several lines; they mean nothing in JSON."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ")


class _Stream:
    """One open stream: asks again and again, until the client or the server goes."""

    def __init__(self, exchange: Exchange, service: Service, principal: Principal) -> None:
        exchange.enter(service.rooms.streams)
        self._exchange = exchange
        self._service = service
        self._principal = principal
        self._gone = asyncio.ensure_future(exchange.gone())

    async def ask(self, operation: Operation[Any]) -> Any:
        """The answer; None when the server stops first. Raises `Gone`, or the answer's error."""
        bundle = Bundle(self._service.engine, self._principal, [operation])
        bundle.dispatch()
        await first_of(bundle.done, self._gone, self._service.closing)
        if self._gone.done():
            raise Gone
        if not bundle.done.done():
            return None
        ((result, error),) = bundle.done.result()
        if error is not None:
            raise error
        return result

    async def begin(self) -> None:
        """The stream is open."""
        await self._exchange.begin(200, _HEADERS)

    async def send(self, part: bytes) -> None:
        """Send a part; waits while the reader is behind."""
        await self._exchange.write(part)

    async def end(self) -> None:
        """Nothing follows."""
        await self._exchange.end()

    def close(self) -> None:
        """Wait for the client's end no more."""
        self._gone.cancel()


async def stream_run(
    exchange: Exchange, service: Service, principal: Principal, path: dict[str, str]
) -> None:
    """`transition` whenever the run has made one, and `end` after the last."""
    check_role(principal, GetRun.role)
    check_text(path)
    revision = _last_revision(exchange)
    interval_ms = service.settings.heartbeat_interval_ms
    stream = _Stream(exchange, service, principal)
    try:
        result = await stream.ask(GetRun(id=path["id"]))
        if result is None:
            raise Refusal(503, "the server stops")
        await stream.begin()
        while result is not None:
            if result.run.revision > revision:
                revision = result.run.revision
                await stream.send(event("transition", str(revision), _shown(result)))
            elif not result.ended:
                await stream.send(_HEARTBEAT)
            if result.ended:
                await stream.send(event("end", str(revision), {"status": result.run.status}))
                break
            waiting = GetRun(id=path["id"], wait_ms=interval_ms, after_revision=revision)
            result = await stream.ask(waiting)
        await stream.end()
    finally:
        stream.close()


def _shown(result: RunResult) -> Any:
    return _result.show(result) if _result.show else result


def _last_revision(exchange: Exchange) -> int:
    given = exchange.headers.get(_LAST)
    if given is None:
        return -1
    if not given.isdigit() or int(given) > SAFE_INTEGER:
        raise Refusal(400, "Last-Event-ID is not an id of this stream: it is a revision")
    return int(given)


class NamespaceFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which changes a client wants to hear of; without any, all."""

    workflow: tuple[str, ...] = ()
    status: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `InvalidRequest` for a status that changes never have."""
        unknown = sorted({*self.status} - {*STATUSES})
        if unknown:
            known = ", ".join(STATUSES)
            raise InvalidRequest(f"no change brings {', '.join(unknown)}; there are: {known}")

    def takes(self, change: Change) -> bool:
        """Whether the client wants to hear of it."""
        if self.workflow and change.workflow not in self.workflow:
            return False
        return not self.status or change.status in self.status


class _Seen:
    """The changes of the last moments: they come again while they are that young."""

    def __init__(self) -> None:
        self._changes: OrderedDict[tuple[str, int], int] = OrderedDict()

    def is_new(self, change: Change) -> bool:
        """Whether it comes for the first time."""
        key = (change.run_id, change.revision)
        if key in self._changes:
            return False
        self._changes[key] = change.at
        return True

    def forget(self, cursor: int) -> None:
        """Those that are too old to come again."""
        while self._changes:
            key, at = next(iter(self._changes.items()))
            if at >= cursor - OVERLAP_MS:
                return
            del self._changes[key]


async def stream_namespace(
    exchange: Exchange, service: Service, principal: Principal, path: dict[str, str]
) -> None:
    """`change` for every transition of a run of the namespace, from now on or from an id on."""
    check_role(principal, GetChanges.role)
    wanted: NamespaceFilter = decode_query(exchange.scope["query_string"], NamespaceFilter)
    wanted.check()
    seen = _Seen()
    cursor = _last_change(exchange, seen)
    stream = _Stream(exchange, service, principal)
    try:
        first = await stream.ask(GetChanges(cursor=cursor))
        if first is None:
            raise Refusal(503, "the server stops")
        await stream.begin()
        await stream.send(_HEARTBEAT)
        await _follow(stream, first, wanted, seen, service.settings.heartbeat_interval_ms)
        await stream.end()
    finally:
        stream.close()


async def _follow(
    stream: _Stream, changes: Any, wanted: NamespaceFilter, seen: _Seen, interval_ms: int
) -> None:
    while changes is not None:
        parts = [
            event("change", f"{change.at}:{change.run_id}:{change.revision}", change)
            for change in changes.changes
            if seen.is_new(change) and wanted.takes(change)
        ]
        await stream.send(b"".join(parts) or _HEARTBEAT)
        seen.forget(changes.cursor)
        changes = await stream.ask(GetChanges(cursor=changes.cursor, wait_ms=interval_ms))


def _last_change(exchange: Exchange, seen: _Seen) -> int | None:
    """Where a client goes on; what it got within the overlap before may come again."""
    given = exchange.headers.get(_LAST)
    if given is None:
        return None
    at, _, rest = given.decode("latin-1").partition(":")
    run_id, _, revision = rest.rpartition(":")
    if not (at.isascii() and at.isdigit() and revision.isascii() and revision.isdigit()):
        raise Refusal(400, "Last-Event-ID is not an id of this stream: it is at:run:revision")
    if max(int(at), int(revision)) > SAFE_INTEGER:
        raise Refusal(400, "Last-Event-ID is not an id of this stream: it is too large")
    seen.is_new(Change(run_id, "", int(revision), "queued", "", int(at)))
    return int(at)
