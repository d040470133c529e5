"""Tenants: another namespace's run is as unknown as none; audit says who did what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiki.engine.engine import Session
from aiki.errors import AikiError, ClaimLost, InvalidRequest, NotFound
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.model.task import Wait
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.bulk import RerunRun
from aiki.operations.catalog import (
    ListDeadLetters,
    ListWorkers,
    ListWorkflows,
    RedriveDeadLetter,
)
from aiki.operations.runs import (
    CancelRun,
    GetHistory,
    GetRun,
    ListRuns,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RetryDiverged,
    StartRuns,
    TerminateRun,
    WaiveEntries,
)
from aiki.operations.work import (
    EventSend,
    Heartbeat,
    LeaveWorker,
    Listen,
    LoadMemo,
    Parked,
    StopRequest,
)
from tests.engine.support import (
    COMPLETE,
    FOR_EVENT,
    Ring,
    claim_of,
    event_of,
    registration,
    report_of,
    start_of,
)

UNKNOWN: dict[str, Callable[[str], Operation[Any]]] = {
    "GetRun": lambda run_id: GetRun(id=run_id),
    "waiting GetRun": lambda run_id: GetRun(id=run_id, wait_ms=1_000),
    "GetHistory": lambda run_id: GetHistory(id=run_id),
    "CancelRun": lambda run_id: CancelRun(id=run_id, command_id=new_id()),
    "TerminateRun": lambda run_id: TerminateRun(id=run_id, command_id=new_id()),
    "PauseRun": lambda run_id: PauseRun(id=run_id),
    "ResumeRun": lambda run_id: ResumeRun(id=run_id),
    "RedeliverRun": lambda run_id: RedeliverRun(id=run_id),
    "WaiveEntries": lambda run_id: WaiveEntries(id=run_id, numbers=(1,)),
    "RetryDiverged": lambda run_id: RetryDiverged(id=run_id),
    "SendEvent": event_of,
    "LoadMemo": lambda run_id: LoadMemo(run_id=run_id, epoch=1),
    "RerunRun": lambda run_id: RerunRun(id=run_id, command_id=new_id()),
    "RedriveDeadLetter": lambda run_id: RedriveDeadLetter(id=run_id),
    "Heartbeat": lambda run_id: Heartbeat(incarnation="worker-1", held=()),
}
PLAIN = {
    "StartRuns", "ListRuns", "ListWorkflows", "ListWorkers", "ListDeadLetters", "GetServerInfo",
    "ClaimRuns", "Report", "Listen", "LeaveWorker", "RegisterWorker", "RefuseMessages",
    "SendEvents", "CancelRuns", "RerunRuns",
    "GetBacklog", "GetNamespace", "SetRetention", "GetChanges",
}  # fmt: skip
"""Operations that name no run, or answer for each run: the tests below look at them."""


def _stranger(ring: Ring) -> Session:
    return ring.engine.session(Principal(namespace="other", name="mallory"))


def test_every_operation_is_looked_at() -> None:
    named = {name.removeprefix("waiting ") for name in UNKNOWN}
    assert named | PLAIN == set(OPERATIONS)


@pytest.mark.parametrize("name", UNKNOWN)
async def test_a_run_of_another_namespace_is_not_found(ring: Ring, name: str) -> None:
    run = await ring.running()
    stranger = _stranger(ring)
    with pytest.raises(AikiError) as foreign:
        await stranger.call(UNKNOWN[name](run.id))
    assert type(foreign.value) is (ClaimLost if name == "LoadMemo" else NotFound)
    if name != "Heartbeat":
        unknown = new_id()
        missing = await ring.refused(UNKNOWN[name](unknown))
        assert type(missing) is type(foreign.value)
        texts = [
            str(e).replace(run.id, "?").replace(unknown, "?") for e in (foreign.value, missing)
        ]
        assert texts[0].replace("other", "default") == texts[1]
    assert (await ring.result(run.id)).run.stop_requested is None
    assert await ring.status(run.id) == "running"


async def test_a_stranger_sees_and_touches_nothing_of_a_worker(ring: Ring) -> None:
    await ring.start()
    await ring.worker()
    claim = claim_of()
    (run,) = (await ring.call(claim)).runs
    await ring.send(run.id)
    stranger = _stranger(ring)
    await stranger.call(registration("worker-1"))
    with pytest.raises(NotFound):
        await stranger.call(claim)
    news = await stranger.call(Listen(incarnation="worker-1", cursor=-1))
    assert (news.facts, news.held) == ((), ())
    (outcome,) = (await stranger.call(report_of(run, COMPLETE))).outcomes
    assert outcome.verdict == "claim_lost"
    before = ring.rows("SELECT * FROM worker")
    await stranger.call(LeaveWorker(incarnation="worker-1"))
    assert ring.rows("SELECT * FROM worker") == before
    assert await ring.status(run.id) == "running"


async def test_lists_hold_only_what_is_ones_own(ring: Ring) -> None:
    await ring.running()
    stranger = _stranger(ring)
    lists: list[Operation[Any]] = [ListWorkers(), ListWorkflows(), ListDeadLetters()]
    assert [await stranger.call(operation) for operation in lists] == [(), (), ()]
    assert (await stranger.call(ListRuns())).runs == ()
    assert len((await ring.call(ListRuns())).runs) == 1


async def test_a_report_reaches_no_run_of_another_namespace(ring: Ring) -> None:
    stranger = _stranger(ring)
    (foreign,) = await stranger.call(StartRuns(starts=(start_of(),)))
    run = await ring.running()
    await ring.report(
        run, Parked((FOR_EVENT, Wait("child", foreign.id))),
        sends=(EventSend(new_id(), foreign.id, "paid", b"1"),),
        stops=(StopRequest(new_id(), foreign.id),),
    )  # fmt: skip
    history = await stranger.call(GetHistory(id=foreign.id))
    assert (history.facts, history.run.stop_requested, history.run.status) == ((), None, "queued")


async def test_references_and_ids_of_another_namespace(ring: Ring) -> None:
    start = start_of(reference_id="order-1")
    await ring.call(StartRuns(starts=(start,)))
    stranger = _stranger(ring)
    (started,) = await stranger.call(StartRuns(starts=(start_of(reference_id="order-1"),)))
    assert started.created
    with pytest.raises(AikiError, match="exists"):
        await stranger.call(StartRuns(starts=(start,)))


async def test_a_role_that_is_missing_is_refused(ring: Ring) -> None:
    viewer = ring.engine.session(Principal(roles=frozenset({"viewer"})))
    run_id = await ring.start()
    assert (await viewer.call(GetRun(id=run_id))).run.id == run_id
    for operation in UNKNOWN.values():
        if operation(run_id).role != "viewer":
            with pytest.raises(InvalidRequest, match="lacks the role"):
                await viewer.call(operation(run_id))


# Audit

AUDITED: list[tuple[str, Callable[[str], Operation[Any]]]] = [
    ("PauseRun", lambda run_id: PauseRun(id=run_id)),
    ("ResumeRun", lambda run_id: ResumeRun(id=run_id)),
    ("SendEvent", lambda run_id: event_of(run_id, id="e-1")),
    ("CancelRun", lambda run_id: CancelRun(id=run_id, command_id="c-1", reason="why not")),
    ("TerminateRun", lambda run_id: TerminateRun(id=run_id, command_id="t-1")),
]


async def test_each_control_leaves_one_audit_row_and_a_repeat_none(ring: Ring) -> None:
    run = await ring.running()
    api = ring.engine.session(Principal(name="alice"))
    for _, operation in AUDITED:
        for _ in range(2):
            await api.call(operation(run.id))
    rows = ring.rows(
        "SELECT operation, object_id, detail, namespace FROM audit WHERE principal = 'alice'"
        " ORDER BY id"
    )
    assert [row[0] for row in rows] == [name for name, _ in AUDITED]
    assert {(row[1], row[3]) for row in rows} == {(run.id, "default")}
    assert "why not" in {row[2] for row in rows}


async def test_a_refused_operation_leaves_no_audit_row(ring: Ring) -> None:
    run_id = await ring.start()
    before = ring.rows("SELECT * FROM audit")
    await ring.refused(ResumeRun(id=run_id))
    await ring.refused(RedeliverRun(id=run_id))
    assert ring.rows("SELECT * FROM audit") == before
