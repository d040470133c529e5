"""The reporter: what becomes ready to report while a report is in flight leaves together."""

from __future__ import annotations

import asyncio

from aiki.errors import InvalidRequest, LimitExceeded, ServiceError
from aiki.operations.base import Api
from aiki.operations.work import Report, Reported, ReportOutcome, RunReport
from aiki.queue.pacing import Pacing
from aiki.worker.driver import Driver
from aiki.worker.timekeeper import Timekeeper
from aiki.worker.trouble import Trouble


class Reporter:
    """Sends the reports of all drivers of a worker, one request at a time."""

    def __init__(
        self, api: Api, incarnation: str, timekeeper: Timekeeper, trouble: Trouble
    ) -> None:
        self._api = api
        self._incarnation = incarnation
        self._timekeeper = timekeeper
        self._trouble = trouble
        self._dirty: dict[Driver, None] = {}
        self._scheduled = False
        self._sending: asyncio.Task[None] | None = None

    def mark(self, driver: Driver) -> None:
        """The driver has something to report."""
        self._dirty[driver] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self._sending is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Compose at the last moment, so that everything of this turn of the loop is in."""
        self._scheduled = False
        if self._sending is not None:
            return
        drivers, self._dirty = list(self._dirty), {}
        composed = [(driver, report) for driver in drivers if (report := driver.compose())]
        if composed:
            self._sending = asyncio.get_running_loop().create_task(self._send(composed))

    async def _send(self, composed: list[tuple[Driver, RunReport]]) -> None:
        covered = [driver.reported for driver, _ in composed]
        try:
            answer = await self.post([report for _, report in composed])
        finally:
            self._sending = None
        for (driver, _), outcome, changes in zip(composed, answer.outcomes, covered, strict=True):
            driver.acknowledged(outcome, changes)
        if self._dirty:
            self._schedule()

    async def post(self, reports: list[RunReport]) -> Reported:
        """Send until it is answered: a report is safe to repeat."""
        operation = Report(incarnation=self._incarnation, reports=tuple(reports))
        pacing = Pacing(50, 5_000, spread=0.5)
        while True:
            try:
                answer = await self._api.call(operation)
            except ServiceError as error:
                self._trouble.meet("a report", error)
                await asyncio.sleep(max(pacing.pause_ms() / 1000, error.retry_after_seconds))
                pacing.empty()
            except (InvalidRequest, LimitExceeded) as error:
                return await self._singly(reports, error)
            else:
                if any(outcome.verdict == "early" for outcome in answer.outcomes):
                    self._timekeeper.distrust(answer.now)
                else:
                    self._timekeeper.learn(answer.now)
                return answer

    async def _singly(
        self, reports: list[RunReport], error: InvalidRequest | LimitExceeded
    ) -> Reported:
        """They cannot be sent together; one that cannot be sent at all is refused."""
        if len(reports) == 1:
            return Reported((ReportOutcome("refused", f"NotStorable: {error.message}"),), 0)
        answers = [await self.post([report]) for report in reports]
        outcomes = tuple(outcome for answer in answers for outcome in answer.outcomes)
        return Reported(outcomes, max(answer.now for answer in answers))

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        while self._sending is not None or self._scheduled:
            if self._sending is not None:
                await asyncio.wait([self._sending])
            else:
                await asyncio.sleep(0)
