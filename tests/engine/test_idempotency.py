"""A repeated operation gets the first answer and does nothing; the same id for more: a conflict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from aiki.errors import Conflict, InvalidRequest, InvalidTransition, LimitExceeded
from aiki.ids import new_id
from aiki.model.task import Divergence, Wait
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.bulk import CancelRuns, RerunRun, RerunRuns, SendEvents
from aiki.operations.catalog import ListDeadLetters, RedriveDeadLetter, SetRetention
from aiki.operations.runs import (
    CancelRun,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RetryDiverged,
    RunQuery,
    Started,
    StartRuns,
    TerminateRun,
    WaiveEntries,
)
from aiki.operations.work import (
    Diverged,
    Failed,
    Heartbeat,
    LeaveWorker,
    Parked,
    RefusedMessage,
    RefuseMessages,
)
from tests.engine.support import (
    COMPLETE,
    FAIL,
    FAILURE,
    FOR_EVENT,
    RECORDED,
    RELEASE,
    Ring,
    claim_of,
    entry,
    event_of,
    registration,
    report_of,
    start_of,
)
from tests.support.databases import tables_at

TABLES = (
    "run", "run_payload", "outbox", "entry", "task_attempt", "wait", "fact", "child", "transition",
    "decision", "divergence", "dead_letter", "audit", "answer", "namespace",
)  # fmt: skip


def _image(ring: Ring) -> dict[str, list[tuple[Any, ...]]]:
    return tables_at(ring.path, *TABLES)


async def _start(ring: Ring) -> Operation[Any]:
    return StartRuns(starts=(start_of(reference_id="order-1"), start_of(delay_ms=9)))


async def _event(ring: Ring) -> Operation[Any]:
    return event_of((await ring.parked(FOR_EVENT)).id, value=b"7")


async def _keyed_event(ring: Ring) -> Operation[Any]:
    return event_of(await ring.start(), key="payment-1")


async def _cancel_unstarted(ring: Ring) -> Operation[Any]:
    return CancelRun(id=await ring.start(), command_id=new_id())


async def _cancel_running(ring: Ring) -> Operation[Any]:
    return CancelRun(id=(await ring.running()).id, command_id=new_id())


async def _second_cancel(ring: Ring) -> Operation[Any]:
    run = await ring.running()
    await ring.cancel(run.id)
    return CancelRun(id=run.id, command_id=new_id())


async def _terminate(ring: Ring) -> Operation[Any]:
    return TerminateRun(id=(await ring.running()).id, command_id=new_id())


async def _pause(ring: Ring) -> Operation[Any]:
    return PauseRun(id=await ring.start())


async def _resume_running(ring: Ring) -> Operation[Any]:
    run = await ring.running()
    await ring.call(PauseRun(id=run.id))
    return ResumeRun(id=run.id)


async def _claim(ring: Ring) -> Operation[Any]:
    await ring.worker()
    await ring.start()
    return claim_of()


async def _entries(ring: Ring) -> Operation[Any]:
    return report_of(await ring.running(), entries=(entry(1), entry(2)))


async def _complete(ring: Ring) -> Operation[Any]:
    return report_of(await ring.running(), COMPLETE, entries=(entry(1),))


async def _fail(ring: Ring) -> Operation[Any]:
    return report_of(await ring.running(), FAIL)


async def _retry(ring: Ring) -> Operation[Any]:
    return report_of(await ring.running(), Failed(FAILURE, 50))


async def _park(ring: Ring) -> Operation[Any]:
    return report_of(await ring.running(), Parked((FOR_EVENT, Wait("timer", "t", 99))))


async def _release(ring: Ring) -> Operation[Any]:
    return report_of(await ring.running(), RELEASE)


async def _diverge(ring: Ring) -> Operation[Any]:
    ending = Diverged(Divergence(("a#0",), ("b#0",), (1,), fingerprint="source-1"))
    return report_of(await ring.running(), ending)


async def _register(ring: Ring) -> Operation[Any]:
    return registration()


async def _heartbeat(ring: Ring) -> Operation[Any]:
    await ring.running()
    return Heartbeat(incarnation="worker-1", held=())


async def _leave(ring: Ring) -> Operation[Any]:
    await ring.running()
    return LeaveWorker(incarnation="worker-1")


async def _keyed_start(ring: Ring) -> Operation[Any]:
    return StartRuns(starts=(start_of(),), command_id="command-1")


async def _send_many(ring: Ring) -> Operation[Any]:
    run_id = await ring.start()
    return SendEvents(events=(event_of(run_id), event_of(new_id())), command_id="command-1")


async def _cancel_many(ring: Ring) -> Operation[Any]:
    await ring.running()
    await ring.start()
    return CancelRuns(command_id="command-1", query=RunQuery(workflow="orders"))


async def _ended(ring: Ring) -> str:
    run = await ring.running()
    await ring.report(run, COMPLETE)
    return run.id


async def _rerun(ring: Ring) -> Operation[Any]:
    return RerunRun(id=await _ended(ring), command_id="command-1")


async def _rerun_many(ring: Ring) -> Operation[Any]:
    await _ended(ring)
    return RerunRuns(command_id="command-1", query=RunQuery())


async def _retention(ring: Ring) -> Operation[Any]:
    return SetRetention(retention_ms=5_000, command_id="command-1")


async def _refuse(ring: Ring) -> Operation[Any]:
    message = RefusedMessage("workflow:orders", "1-0", "it names no version", "v=1")
    return RefuseMessages(incarnation=await ring.worker(new_id()), messages=(message,))


async def _resume_by_id(ring: Ring) -> Operation[Any]:
    run_id = await ring.start()
    await ring.call(PauseRun(id=run_id, command_id="pause-1"))
    return ResumeRun(id=run_id, command_id="command-1")


async def _waive_by_id(ring: Ring) -> Operation[Any]:
    return WaiveEntries(id=await _diverged(ring), command_id="command-1")


async def _retry_by_id(ring: Ring) -> Operation[Any]:
    return RetryDiverged(id=await _diverged(ring), command_id="command-1")


async def _diverged(ring: Ring) -> str:
    run = await ring.running()
    left = Divergence(("a#0",), ("b#0",), (1,), fingerprint="source-1")
    await ring.report(run, Diverged(left), entries=(entry(1),))
    return run.id


async def _redrive(ring: Ring) -> Operation[Any]:
    run_id = await ring.start()
    message = RefusedMessage("workflow:orders", "1-0", "odd", run_id)
    await ring.call(RefuseMessages(incarnation="worker-1", messages=(message,)))
    (letter,) = await ring.call(ListDeadLetters())
    return RedriveDeadLetter(id=letter.id, command_id="command-1")


SCENES: list[Callable[[Ring], Awaitable[Operation[Any]]]] = [
    _start, _event, _keyed_event, _cancel_unstarted, _cancel_running, _second_cancel, _terminate,
    _pause, _resume_running, _claim, _entries, _complete, _fail, _retry, _park, _release, _diverge,
    _register, _heartbeat, _leave, _keyed_start, _send_many, _cancel_many, _rerun, _rerun_many,
    _retention, _resume_by_id, _waive_by_id, _retry_by_id, _refuse, _redrive,
]  # fmt: skip


def _without_instant(answer: Any) -> Any:
    """The answer without the database's instant, and a start without `created`."""
    if isinstance(answer, int):
        return None
    if isinstance(answer, msgspec.Struct) and "now" in answer.__struct_fields__:
        return msgspec.structs.replace(answer, now=0)
    if isinstance(answer, tuple) and answer and isinstance(answer[0], Started):
        return tuple(started.id for started in answer)
    return answer


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("batched", [False, True], ids=["later", "in the same batch"])
async def test_a_repeated_operation_does_nothing(ring: Ring, scene: Any, batched: bool) -> None:
    operation = await scene(ring)
    if batched:
        first, second = await ring.together(operation, operation)
        after = _image(ring)
    else:
        first = await ring.call(operation)
        after = _image(ring)
        second = await ring.call(operation)
    assert _without_instant(second) == _without_instant(first)
    await ring.call(operation)
    assert _image(ring) == after


STATE_DECIDES = {"RedeliverRun", "WaiveEntries", "RetryDiverged", "ResumeRun"}
"""Without an id of their own: a second one finds another state, and is refused by it."""


def test_every_mutating_operation_has_a_scene() -> None:
    mutating = {name for name, operation in OPERATIONS.items() if operation.mutates}
    shown = {
        "StartRuns", "SendEvent", "CancelRun", "TerminateRun", "PauseRun", "ClaimRuns", "Report",
        "RegisterWorker", "Heartbeat", "LeaveWorker", "SendEvents", "CancelRuns", "RerunRun",
        "RerunRuns", "SetRetention", "RefuseMessages", "RedriveDeadLetter",
    }  # fmt: skip
    assert mutating == shown | STATE_DECIDES


async def test_what_has_no_id_is_refused_by_the_state_it_led_to(ring: Ring) -> None:
    run = await ring.running()
    left = Divergence(("a#0",), ("b#0",), (1,), fingerprint="source-1")
    await ring.report(run, Diverged(left), entries=(entry(1),))
    for first, second in (
        (WaiveEntries(id=run.id), RetryDiverged(id=run.id)),
        (PauseRun(id=run.id), RedeliverRun(id=run.id)),
        (ResumeRun(id=run.id), WaiveEntries(id=run.id)),
    ):
        await ring.call(first)
        image = _image(ring)
        assert isinstance(await ring.refused(second), InvalidTransition)
        if not isinstance(first, PauseRun):
            assert isinstance(await ring.refused(first), InvalidTransition)
        assert _image(ring) == image


# The same id, another content


@pytest.mark.parametrize("change", ["input", "version", "workflow"])
async def test_a_start_under_a_used_id_is_a_conflict(ring: Ring, change: str) -> None:
    first = start_of()
    await ring.call(StartRuns(starts=(first,)))
    other = msgspec.structs.replace(first, **{change: b"[]" if change == "input" else "other"})
    image = _image(ring)
    assert isinstance(await ring.refused(StartRuns(starts=(start_of(), other))), Conflict)
    assert _image(ring) == image


async def test_an_event_under_a_used_key_or_id_is_a_conflict(ring: Ring) -> None:
    run_id, other = await ring.start(), await ring.start()
    sent = event_of(run_id, key="payment-1", value=b"1")
    assert await ring.call(sent) == sent.id
    again = event_of(run_id, key="payment-1", value=b"1")
    assert await ring.call(again) == sent.id
    for event in (
        event_of(run_id, key="payment-1", value=b"2"),
        event_of(run_id, id=sent.id, value=b"2"),
        event_of(run_id, "refunded", id=sent.id, value=b"1"),
        event_of(other, id=sent.id, value=b"1"),
    ):
        assert isinstance(await ring.refused(event), Conflict)
    assert await ring.send(other, key="payment-1", value=b"2") != sent.id
    assert await ring.send(run_id, "refunded", key="payment-1", value=b"2") != sent.id


async def test_one_request_to_stop_cannot_be_meant_for_two_runs(ring: Ring) -> None:
    first, second = await ring.running(), await ring.start()
    await ring.cancel(first.id, "0-stop-it")
    command = CancelRun(id=second, command_id="0-stop-it")
    assert isinstance(await ring.refused(command), Conflict)
    assert await ring.status(second) == "queued"


async def test_a_late_repeat_of_a_report_gets_its_answer_whatever_happened_since(
    ring: Ring,
) -> None:
    run = await ring.running()
    park = report_of(run, Parked((FOR_EVENT,)))
    await ring.call(park)
    await ring.cancel(run.id)
    assert (await ring.call(park)).outcomes == (RECORDED,)
    again = await ring.take()
    assert (await ring.call(park)).outcomes == (RECORDED,)
    assert again.epoch == run.epoch + 1


async def test_an_event_repeated_after_the_end_gets_its_answer(ring: Ring) -> None:
    run = await ring.running()
    event = event_of(run.id)
    await ring.call(event)
    await ring.report(run, COMPLETE)
    assert await ring.call(event) == event.id
    assert isinstance(await ring.refused(event_of(run.id)), InvalidTransition)


# References


async def test_a_reference_names_one_run_of_a_workflow(ring: Ring) -> None:
    first = await ring.start(reference_id="order-1")
    refused = await ring.refused(StartRuns(starts=(start_of(reference_id="order-1"),)))
    assert isinstance(refused, Conflict)
    assert first in str(refused)
    for fields in ({"workflow": "refunds"}, {"reference_id": "order-2"}):
        assert await ring.start(**({"reference_id": "order-1"} | fields)) != first


async def test_return_existing_answers_the_run_that_has_the_reference(ring: Ring) -> None:
    first = await ring.start(reference_id="order-1")
    start = start_of(reference_id="order-1", on_conflict="return_existing", input=b"other")
    (started,) = await ring.call(StartRuns(starts=(start,)))
    assert (started.id, started.created) == (first, False)
    assert ring.rows("SELECT count(*) FROM run") == [(1,)]


async def test_a_reference_holds_within_a_batch_and_within_a_call(ring: Ring) -> None:
    one, two = (StartRuns(starts=(start_of(reference_id="order-1"),)) for _ in range(2))
    won, lost = await ring.together(one, two)
    assert won[0].created
    assert isinstance(lost, Conflict)
    twins = tuple(start_of(reference_id="order-2") for _ in range(2))
    assert isinstance(await ring.refused(StartRuns(starts=twins)), Conflict)
    assert ring.rows("SELECT count(*) FROM run") == [(1,)]


async def test_references_differ_by_case_accent_and_trailing_space(ring: Ring) -> None:
    names = ["é", "e", "É", "E", "e ", "e\u0301"]
    assert len({await ring.start(reference_id=name) for name in names}) == len(names)


async def test_a_child_whose_reference_is_taken_is_refused_and_hurts_nobody(ring: Ring) -> None:
    await ring.start(reference_id="order-1", delay_ms=1_000)
    parent = await ring.running()
    child = start_of(reference_id="order-1")
    outcome = await ring.report(parent, children=(child,), child_keys=("ship#0",))
    assert outcome.verdict == "refused"
    assert "order-1" in outcome.detail
    assert await ring.report(parent, COMPLETE) == RECORDED


async def test_all_starts_of_a_call_or_none(ring: Ring) -> None:
    await ring.start(reference_id="order-1")
    starts = (start_of(), start_of(reference_id="order-1"), start_of())
    assert isinstance(await ring.refused(StartRuns(starts=starts)), Conflict)
    large = (start_of(), start_of(input=b"x" * (2 * 1024 * 1024 + 1)))
    assert isinstance(await ring.refused(StartRuns(starts=large)), LimitExceeded)
    assert ring.rows("SELECT count(*) FROM run") == [(1,)]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"], ids=["NUL", "surrogate"])
async def test_texts_that_no_database_can_compare_are_refused_alone(ring: Ring, text: str) -> None:
    run_id = await ring.start()
    operations: list[Operation[Any]] = [
        StartRuns(starts=(start_of(reference_id=text),)),
        event_of(run_id, key=text),
        event_of(run_id, text),
        event_of(run_id, id=text),
    ]
    *refused, sent = await ring.together(*operations, event_of(run_id, key="a"))
    assert [type(error) for error in refused] == [InvalidRequest] * 4
    assert isinstance(sent, str)
