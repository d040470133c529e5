"""Claiming: a worker asks for runs while it has room for them, one request at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from aiki import failpoints
from aiki.errors import AikiError, NotFound, ServiceError
from aiki.ids import new_id
from aiki.model import limits
from aiki.operations.base import Api
from aiki.operations.work import (
    ClaimedRun,
    ClaimRuns,
    Claims,
    RefusedMessage,
    RefuseMessages,
)
from aiki.queue.subscriber import Ask, Interest, Subscriber
from aiki.worker.timekeeper import Timekeeper
from aiki.worker.trouble import Trouble

logger = logging.getLogger("aiki.worker")
_ALONE_SECONDS = 1.0


class Claimant(Protocol):
    """The worker, as its claiming sees it."""

    timekeeper: Timekeeper
    trouble: Trouble
    freed: asyncio.Event
    """Set whenever a run has left the worker."""
    claiming: set[str]
    """Claims whose answers are on their way."""

    @property
    def room(self) -> int:
        """For how many more runs there is room; none while a run is executed alone."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no run is executed."""
        ...

    def adopt(self, claim: ClaimedRun) -> None:
        """A run was granted."""
        ...

    async def reintroduce(self) -> None:
        """The server does not know this worker: register again."""
        ...


class Claiming:
    """Asks when the subscriber says so, and hands over what is granted."""

    def __init__(
        self, worker: Claimant, api: Api, subscriber: Subscriber, interest: Interest
    ) -> None:
        self._worker = worker
        self._api = api
        self._subscriber = subscriber
        self._interest = interest

    async def run(self) -> None:
        """Claim until cancelled."""
        worker = self._worker
        while True:
            room = min(worker.room, limits.BULK_ITEMS)
            if room <= 0:
                worker.freed.clear()
                await worker.freed.wait()
                continue
            ask = await self._subscriber.next(room)
            claims = await self._claim(ask, min(ask.limit, room))
            if claims is not None and claims.alone_waiting and not claims.runs:
                await self._become_idle()

    async def _claim(self, ask: Ask, limit: int) -> Claims | None:
        worker = self._worker
        # A claim whose answer was lost may have been granted: it is asked for again by its id.
        claim_id = next(iter(worker.claiming), None) or new_id()
        worker.claiming.add(claim_id)
        try:
            if ask.refused:
                await self._report_refused(ask.refused)
            claims = await self._api.call(self._operation(claim_id, ask, limit))
        except NotFound:
            # What the claim was granted before is asked for again, once the server knows us.
            await worker.reintroduce()
            return None
        except ServiceError as error:
            worker.trouble.meet("a claim", error)
            self._subscriber.failed(error)
            return None
        except BaseException:
            worker.claiming.discard(claim_id)
            raise
        failpoints.hit("after_claim")
        worker.trouble.end()
        worker.timekeeper.learn(claims.now)
        self._subscriber.learn(claims)
        for claim in claims.runs:
            worker.adopt(claim)
        worker.claiming.discard(claim_id)
        return claims

    def _operation(self, claim_id: str, ask: Ask, limit: int) -> ClaimRuns:
        return ClaimRuns(
            claim_id=claim_id,
            incarnation=self._interest.incarnation,
            offers=self._interest.offers,
            limit=limit,
            shards=self._interest.shards,
            wait_ms=ask.wait_ms,
            idle=self._worker.is_idle,
            hints=ask.hints,
        )

    async def _report_refused(self, messages: tuple[RefusedMessage, ...]) -> None:
        """Report what is no message; one that cannot be reported must not hold up the others."""
        incarnation = self._interest.incarnation
        try:
            await self._api.call(RefuseMessages(incarnation=incarnation, messages=messages))
        except (NotFound, ServiceError):
            raise
        except AikiError as error:
            for message in messages:
                logger.error("a message is dropped that is none, and is not kept: %s", message)
            logger.error("the server keeps none of them: %s", error)

    async def _become_idle(self) -> None:
        """A run must be executed alone: take nothing new until this worker has nothing else."""
        worker = self._worker
        if not worker.is_idle:
            worker.freed.clear()
            try:
                async with asyncio.timeout(_ALONE_SECONDS):
                    await worker.freed.wait()
            except TimeoutError:
                return  # Another worker may have taken it: ask again.
