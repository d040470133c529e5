"""Health: whether the process answers, and whether it can do what it is there for."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import msgspec

from aiki.engine.engine import VERSION, Engine
from aiki.engine.publishing import PublishingCounts
from aiki.errors import AikiError
from aiki.queue.breaker import BreakerCounts
from aiki.server.exchange import Exchange
from aiki.server.problems import Answer
from aiki.server.service import Service

logger = logging.getLogger("aiki.server")


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    alive: bool = True
    version: str = VERSION


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests should be sent here, and what each part says."""

    ready: bool
    serving: bool
    """False as soon as the server stops."""
    database: bool
    """It answered in time."""
    committer: bool
    daemons: bool
    queue: Literal["none", "answers", "away"]
    """The broker; without it workers poll, so that its absence does not make a server unready."""
    store: str
    schema_version: int
    """Of the schema that this server brought the database to."""
    database_calls: BreakerCounts
    """Of the circuit breaker before the database, since the start."""
    queue_calls: BreakerCounts | None
    """Of the one before the broker."""
    publishing: PublishingCounts | None


class Health:
    """Answers whoever asks how the server is; many who ask at once share one look."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looking: asyncio.Task[bool] | None = None

    async def answer_alive(self, exchange: Exchange) -> None:
        """Say that the process answers."""
        await exchange.respond(_uncached(Alive(), 200))

    async def answer_ready(self, exchange: Exchange) -> None:
        """Say whether the server is ready; 503 where it is not."""
        readiness = await self._readiness()
        await exchange.respond(_uncached(readiness, 200 if readiness.ready else 503))

    async def _readiness(self) -> Readiness:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(_database_answers(self._service))
        database = await asyncio.shield(self._looking)
        store, parts = self._service.engine.store, self._service.engine.parts
        serving = not self._service.stopping
        publishing = self._service.engine.publishing
        return Readiness(
            ready=serving and database and all(parts.values()),
            serving=serving,
            database=database,
            committer=parts["committer"],
            daemons=parts["daemons"],
            queue=_queue(self._service.engine),
            store=store.name,
            schema_version=store.schema_version,
            database_calls=self._service.engine.breaker.counts,
            queue_calls=publishing.breaker.counts if publishing else None,
            publishing=publishing.counts if publishing else None,
        )


async def _database_answers(service: Service) -> bool:
    try:
        async with asyncio.timeout(service.settings.ready_timeout_ms / 1000):
            await service.engine.store.read(lambda tx: tx.now())
    except (TimeoutError, AikiError) as error:
        logger.warning("the database does not answer: %s", error or "it takes too long")
        return False
    except Exception:
        logger.exception("the database cannot be read")
        return False
    return True


def _queue(engine: Engine) -> Literal["none", "answers", "away"]:
    if engine.publishing is None:
        return "none"
    return "away" if engine.publishing.breaker.is_open else "answers"


def _uncached(value: msgspec.Struct, status: int) -> Answer:
    body = msgspec.json.encode(value)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, headers, body)
