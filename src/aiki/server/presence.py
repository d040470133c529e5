"""Presence: a worker's streaming request, whose end without a goodbye makes it suspect.

The server's own stop suspects nobody: the worker opens another request elsewhere. A peer whose host
vanished is noticed because its kernel acknowledges nothing any more (`listening.watch_peers`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import msgspec
from msgspec import Meta

from aiki.engine.workers import SeeWorker, SuspectWorker
from aiki.errors import AikiError
from aiki.model.audit import Principal
from aiki.server.access import check_role
from aiki.server.exchange import Exchange, first_of
from aiki.server.json_body import check_text, decode_query
from aiki.server.service import Service
from aiki.wire.faces import SAFE_INTEGER

logger = logging.getLogger("aiki.server")
_BEAT = b"\n"
_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class _Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, le=SAFE_INTEGER)]
    """Of the worker's requests; later ones have higher numbers."""


async def open_presence(
    exchange: Exchange, service: Service, principal: Principal, path: dict[str, str]
) -> None:
    """Hold the request open until the worker or the server goes."""
    check_role(principal, SeeWorker.role)
    check_text(path)
    incarnation = path["incarnation"]
    number: int = decode_query(exchange.scope["query_string"], _Query).number
    exchange.enter(service.rooms.presences)
    farewell = service.farewell(principal, incarnation)
    gone = asyncio.ensure_future(exchange.gone())
    try:
        seen = SeeWorker(incarnation=incarnation, presence=number)
        await service.engine.session(principal).call(seen)
        await exchange.begin(200, _HEADERS)
        interval_ms = service.settings.presence_interval_ms
        while True:
            await exchange.write(_BEAT)
            if await first_of(farewell, gone, service.closing, timeout_ms=interval_ms):
                break
        if gone.done() and not farewell.done() and not service.stopping:
            await _suspect(service, principal, incarnation, number)
        else:
            await exchange.end()
    finally:
        gone.cancel()
        service.forget(principal, incarnation, farewell)


async def _suspect(service: Service, principal: Principal, incarnation: str, number: int) -> None:
    suspect = SuspectWorker(incarnation=incarnation, presence=number)
    try:
        await service.engine.session(principal).call(suspect)
    except AikiError as error:
        logger.warning("worker %s may be lost, its lease will tell: %s", incarnation, error)
