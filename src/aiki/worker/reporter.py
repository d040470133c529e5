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
        self._alone: dict[Driver, asyncio.Task[None]] = {}
        """Those whose last report failed, and is repeated where it is in no other's way."""

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
        drivers = [driver for driver in self._dirty if driver not in self._alone]
        # A report builds on the one before it: that is to be on record first.
        self._dirty = {driver: None for driver in self._dirty if driver in self._alone}
        composed = [(driver, report) for driver in drivers if (report := driver.compose())]
        if composed:
            self._sending = asyncio.get_running_loop().create_task(self._send(composed))

    async def _send(self, composed: list[tuple[Driver, RunReport]]) -> None:
        covered = [driver.reported for driver, _ in composed]
        try:
            answer = await self._ask([report for _, report in composed])
        finally:
            self._sending = None
        each = zip(composed, answer.outcomes, covered, strict=True)
        for (driver, report), outcome, changes in each:
            if outcome.verdict == "later":
                repeating = self._repeat(driver, report, changes)
                self._alone[driver] = asyncio.get_running_loop().create_task(repeating)
            else:
                driver.acknowledged(outcome, changes)
        if self._dirty:
            self._schedule()

    async def _repeat(self, driver: Driver, report: RunReport, changes: int) -> None:
        try:
            await asyncio.sleep(_new_pacing().pause_ms() / 1000)
            answer = await self.post([report])
        finally:
            del self._alone[driver]
        driver.acknowledged(answer.outcomes[0], changes)
        if self._dirty:
            self._schedule()

    async def post(self, reports: list[RunReport]) -> Reported:
        """Send until each is recorded or refused: a report is safe to repeat."""
        pacing = _new_pacing()
        while True:
            answer = await self._ask(reports)
            later = [outcome for outcome in answer.outcomes if outcome.verdict == "later"]
            if not later:
                return answer
            self._trouble.meet("a report", ServiceError(later[0].detail))
            await asyncio.sleep(pacing.pause_ms() / 1000)
            pacing.empty()

    async def _ask(self, reports: list[RunReport]) -> Reported:
        """Send until it is answered."""
        operation = Report(incarnation=self._incarnation, reports=tuple(reports))
        pacing = _new_pacing()
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
        answers = [await self._ask([report]) for report in reports]
        outcomes = tuple(outcome for answer in answers for outcome in answer.outcomes)
        return Reported(outcomes, max(answer.now for answer in answers))

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        while self._sending is not None or self._alone or self._scheduled:
            tasks = [*self._alone.values(), *filter(None, (self._sending,))]
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)


def _new_pacing() -> Pacing:
    return Pacing(50, 5_000, spread=0.5)
