"""Lost wake-ups, each forced in both orders, in one batch and in two: none is lost."""

from __future__ import annotations

from typing import Any

import pytest

from aiki.engine.daemons import wake_due
from aiki.model.failure import Cancelled, ChildEnded
from aiki.model.task import Wait
from aiki.operations.base import Operation
from aiki.operations.runs import PauseRun, ResumeRun, StartRun
from aiki.operations.work import ClaimedRun, Completed, Ending, EventSend, Parked, Report
from tests.engine.support import (
    COMPLETE,
    FAIL,
    FAILURE,
    FOR_EVENT,
    RECORDED,
    Ring,
    claim_of,
    entry,
    event_of,
    report_of,
    start_of,
    taking,
)

ORDERS = ["first, then second", "second, then first", "one batch", "one batch, reversed"]


async def _both(ring: Ring, order: str, one: Operation[Any], two: Operation[Any]) -> None:
    operations = [one, two] if order in (ORDERS[0], ORDERS[2]) else [two, one]
    if "batch" in order:
        answers = await ring.together(*operations)
        assert not any(isinstance(answer, BaseException) for answer in answers)
        return
    for operation in operations:
        await ring.call(operation)


@pytest.mark.parametrize("order", ORDERS)
async def test_an_event_while_the_run_parks(ring: Ring, order: str) -> None:
    run = await ring.running()
    await _both(ring, order, report_of(run, Parked((FOR_EVENT,))), event_of(run.id))
    again = await ring.take()
    assert [fact.name for fact in again.inbox] == ["paid"]


@pytest.mark.parametrize("order", ORDERS)
async def test_an_event_that_nobody_waits_for_does_not_wake(ring: Ring, order: str) -> None:
    run = await ring.running()
    await _both(ring, order, report_of(run, Parked((FOR_EVENT,))), event_of(run.id, "refunded"))
    assert await ring.status(run.id) == "awaiting_event"
    assert [fact.name for fact in (await ring.history(run.id)).facts] == ["refunded"]


async def _family(ring: Ring) -> tuple[ClaimedRun, ClaimedRun]:
    """A running parent and its running child."""
    parent = await ring.running()
    child: StartRun = start_of()
    await ring.report(parent, children=(child,), child_keys=("ship#0",))
    return parent, await ring.take()


ENDS: dict[str, Ending] = {"completes": COMPLETE, "fails": FAIL}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("end", ENDS)
async def test_a_child_ends_while_the_parent_parks(ring: Ring, order: str, end: str) -> None:
    parent, child = await _family(ring)
    park = report_of(parent, Parked((Wait("child", child.id),)))
    await _both(ring, order, park, report_of(child, ENDS[end]))
    again = await ring.take()
    assert again.id == parent.id
    (fact,) = again.inbox
    assert (fact.kind, fact.name) == ("child", child.id)
    failure = None if end == "completes" else ChildEnded("orders", child.id, "failed", FAILURE)
    assert (fact.value, fact.failure) == (b'"done"' if failure is None else None, failure)


@pytest.mark.parametrize("order", ORDERS)
async def test_a_child_is_cancelled_while_the_parent_parks(ring: Ring, order: str) -> None:
    from aiki.operations.runs import TerminateRun

    parent, child = await _family(ring)
    park = report_of(parent, Parked((Wait("child", child.id),)))
    await _both(ring, order, park, TerminateRun(id=child.id, command_id="stop-1"))
    (fact,) = (await ring.take()).inbox
    assert isinstance(fact.failure, ChildEnded)
    assert fact.failure.status == "cancelled"
    assert isinstance(fact.failure.cause, Cancelled)


@pytest.mark.parametrize("order", ORDERS)
async def test_a_cancel_while_the_run_parks(ring: Ring, order: str) -> None:
    from aiki.operations.runs import CancelRun

    run = await ring.running()
    cancel = CancelRun(id=run.id, command_id="stop-1")
    await _both(ring, order, report_of(run, Parked((FOR_EVENT,))), cancel)
    again = await ring.take()
    assert (again.stop_cause, [fact.kind for fact in again.inbox]) == ("cancel", ["cancel"])


@pytest.mark.parametrize("order", ORDERS)
async def test_an_event_from_another_run_while_the_run_parks(ring: Ring, order: str) -> None:
    receiver, sender = await ring.running(), await ring.running()
    event = EventSend("e-1", receiver.id, "paid", b"1")
    park = report_of(receiver, Parked((FOR_EVENT,)))
    await _both(ring, order, park, report_of(sender, sends=(event,)))
    assert (await ring.take()).id == receiver.id


async def test_an_event_to_oneself_in_the_report_that_parks(ring: Ring) -> None:
    run = await ring.running()
    event = EventSend("e-1", run.id, "paid", b"1")
    await ring.report(run, Parked((FOR_EVENT,)), sends=(event,))
    assert [fact.id for fact in (await ring.take()).inbox] == ["e-1"]


@pytest.mark.parametrize("order", ["the event first", "the timer first"])
async def test_an_event_against_a_timer(ring: Ring, order: str) -> None:
    due = await ring.now() + 1_000
    run = await ring.parked(FOR_EVENT, Wait("timer", "t", due))
    await ring.pass_time(1_001)
    if order == "the event first":
        event = await ring.send(run.id)
        assert await wake_due(ring.engine) == 0
    else:
        assert await wake_due(ring.engine) == 1
        event = await ring.send(run.id)
    again = await ring.take()
    assert [fact.id for fact in again.inbox] == [event]
    timer = entry(1, kind="timer", address="t", due_at=due)
    assert await ring.report(again, entries=(timer,)) == RECORDED
    # The wait that lost is gone, and the event is kept for a later one.
    await ring.report(again, Parked((Wait("event", "refunded"),)))
    assert await ring.status(run.id) == "awaiting_event"
    await ring.send(run.id, "refunded")
    third = await ring.take()
    assert [fact.name for fact in third.inbox] == ["paid", "refunded"]
    await ring.report(third, Parked((FOR_EVENT,)), entries=(taking(2, third.inbox[1]),))
    assert [fact.id for fact in (await ring.take()).inbox] == [event]


async def test_a_timer_never_fires_early(ring: Ring) -> None:
    run = await ring.running()
    early = entry(1, kind="timer", address="t", due_at=await ring.now() + 60_000)
    outcome = await ring.report(run, COMPLETE, entries=(early,))
    assert outcome.verdict == "early"
    assert (await ring.status(run.id), (await ring.history(run.id)).entries) == ("running", ())


async def test_the_earliest_due_of_two_waits_for_one_event_counts(ring: Ring) -> None:
    due = await ring.now() + 1_000
    for waits in (
        (FOR_EVENT, Wait("event", "paid", due)),
        (Wait("event", "paid", due + 5), Wait("event", "paid", due), FOR_EVENT),
    ):
        run = await ring.parked(*waits)
        assert (await ring.result(run.id)).run.due_at == due
    await ring.pass_time(1_001)
    assert await wake_due(ring.engine) == 2


async def test_a_taken_event_is_gone_and_taken_once(ring: Ring) -> None:
    run = await ring.running()
    await ring.send(run.id)
    (fact,) = (await ring.history(run.id)).facts
    await ring.report(run, Parked((FOR_EVENT,)), entries=(taking(1, fact),))
    assert await ring.status(run.id) == "awaiting_event"
    assert ring.rows("SELECT consumed_by, consumed_attempt FROM fact") == [(1, 1)]


@pytest.mark.parametrize("order", ORDERS)
async def test_an_event_while_the_run_is_paused_and_resumed(ring: Ring, order: str) -> None:
    run = await ring.parked(FOR_EVENT)
    await ring.call(PauseRun(id=run.id))
    await _both(ring, order, event_of(run.id), ResumeRun(id=run.id))
    assert [fact.name for fact in (await ring.take()).inbox] == ["paid"]


async def test_an_end_that_would_not_tell_the_parent_is_refused(ring: Ring) -> None:
    parent, child = await _family(ring)
    await ring.report(parent, Parked((Wait("child", child.id),)))
    outcome = await ring.report(child, COMPLETE, parent_id=None)
    assert outcome.verdict == "refused"
    assert await ring.report(child, COMPLETE) == RECORDED
    assert (await ring.take()).id == parent.id


async def test_a_child_of_an_earlier_attempt_does_not_speak_to_the_new_one(ring: Ring) -> None:
    from aiki.operations.work import Failed

    parent, child = await _family(ring)
    await ring.report(parent, Failed(FAILURE, 0))
    await wake_due(ring.engine)
    again = await ring.take()
    assert again.attempt == 2
    await ring.report(child, COMPLETE)
    assert (await ring.history(parent.id)).facts == ()


async def test_a_park_and_the_claim_that_waits_for_it(ring: Ring) -> None:
    """The wake-up, its outbox row and the next claim are one transaction."""
    run = await ring.parked(FOR_EVENT)
    _, claims = await ring.together(event_of(run.id), claim_of())
    assert [claimed.epoch for claimed in claims.runs] == [2]
    assert ring.rows("SELECT * FROM outbox") == []
    output = Completed(b"1")
    await ring.call(Report(incarnation="worker-1", reports=()))
    assert await ring.report(claims.runs[0], output) == RECORDED
