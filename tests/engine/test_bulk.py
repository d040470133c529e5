"""Bulk calls: by a list or by a filter, with a dry run, once for each command."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aiki.engine.daemons import forget, retention
from aiki.errors import Conflict, InvalidRequest, InvalidTransition
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.model.run import RunOptions
from aiki.operations.bulk import CancelRuns, RerunRun, RerunRuns, SendEvents
from aiki.operations.catalog import (
    OVERLAP_MS,
    GetBacklog,
    GetChanges,
    GetNamespace,
    Namespace,
    SetRetention,
)
from aiki.operations.runs import ListRuns, RunQuery, StartRuns
from tests.engine.support import (
    COMPLETE,
    FAIL,
    FOR_EVENT,
    NO_GRACE,
    Ring,
    child_of,
    event_of,
    start_of,
)

DAY_MS = 86_400_000


async def _ended(ring: Ring, ending: Any = COMPLETE, **fields: Any) -> str:
    run = await ring.running(**fields)
    await ring.report(run, ending)
    return run.id


# Cancel


async def test_what_matches_is_asked_to_stop_and_nothing_else(ring: Ring) -> None:
    done = await _ended(ring)
    running = await ring.running()
    ready, other = await ring.start(), await ring.start(workflow="refunds")
    result = await ring.call(CancelRuns(command_id="c", query=RunQuery(workflow="orders")))
    assert result.done == (running.id, ready)
    assert (result.matched, result.refused, result.more) == (2, (), False)
    assert await ring.status(ready) == "cancelled"
    assert (await ring.result(running.id)).run.stop_requested == "cancel"
    assert await ring.status(other) == "queued"
    assert await ring.status(done) == "completed"


async def test_a_dry_run_names_what_it_would_be_done_to(ring: Ring) -> None:
    ready = await ring.start()
    query = RunQuery(status=("queued",))
    dry = await ring.call(CancelRuns(command_id="c", query=query, dry_run=True))
    assert dry.done == (ready,)
    assert await ring.status(ready) == "queued"
    assert (await ring.call(CancelRuns(command_id="c", query=query))).done == (ready,)
    assert await ring.status(ready) == "cancelled"


async def test_families_are_stopped_too(ring: Ring) -> None:
    parent = await ring.running(options=NO_GRACE)
    await ring.report(parent, **child_of(parent, workflow="ship"))
    (child,) = (await ring.call(ListRuns(query=RunQuery(workflow="ship")))).runs
    query = RunQuery(workflow="orders", status=("running",))
    await ring.call(CancelRuns(command_id="c", query=query))
    assert await ring.status(child.id) == "cancelled"


async def test_what_was_asked_before_is_refused_by_name(ring: Ring) -> None:
    run = await ring.running()
    await ring.cancel(run.id)
    result = await ring.call(CancelRuns(command_id="c", query=RunQuery()))
    assert result.done == ()
    assert [(refused.id, refused.error) for refused in result.refused] == [
        (run.id, "InvalidTransition")
    ]


async def test_a_limit_tells_that_there_are_more(ring: Ring) -> None:
    ids = [await ring.start() for _ in range(3)]
    first = await ring.call(CancelRuns(command_id="c-1", query=RunQuery(), limit=2))
    assert (list(first.done), first.more) == (ids[:2], True)
    second = await ring.call(CancelRuns(command_id="c-2", query=RunQuery(), limit=2))
    assert (list(second.done), second.more) == (ids[2:], False)


@pytest.mark.parametrize(
    ("kind", "status"), [(CancelRuns, "completed"), (RerunRuns, "queued"), (CancelRuns, "nonsense")]
)
async def test_a_filter_that_can_match_nothing_is_refused(
    ring: Ring, kind: Any, status: str
) -> None:
    refused = await ring.refused(kind(command_id="c", query=RunQuery(status=(status,))))
    assert isinstance(refused, InvalidRequest)


async def test_another_namespace_is_not_touched(ring: Ring) -> None:
    run_id = await ring.start()
    stranger = ring.engine.session(Principal(namespace="other"))
    result = await stranger.call(CancelRuns(command_id="c", query=RunQuery()))
    assert result.matched == 0
    assert await ring.status(run_id) == "queued"


# Rerun


async def test_a_rerun_has_the_input_and_options_and_names_its_original(ring: Ring) -> None:
    options = RunOptions(attributes={"tier": "gold"}, cancel_grace_ms=7)
    original = await _ended(
        ring, FAIL, input=b'{"n":1}', priority=3, reference_id="order-1", options=options
    )
    started = await ring.call(RerunRun(id=original, command_id="c"))
    view = (await ring.result(started.id)).run
    assert (view.rerun_of, view.attributes, view.priority) == (original, {"tier": "gold"}, 3)
    assert view.reference_id is None
    (claimed,) = await ring.claim()
    assert (claimed.id, claimed.input) == (started.id, b'{"n":1}')


async def test_only_an_ended_run_is_rerun(ring: Ring) -> None:
    run_id = await ring.start()
    refused = await ring.refused(RerunRun(id=run_id, command_id="c"))
    assert isinstance(refused, InvalidTransition)


async def test_all_failed_runs_are_rerun_once_for_a_command(ring: Ring) -> None:
    failed = [await _ended(ring, FAIL) for _ in range(2)]
    await _ended(ring)
    rerun = RerunRuns(command_id="c", query=RunQuery(status=("failed",)))
    first = await ring.call(rerun)
    assert first.matched == 2
    originals = [(await ring.result(id)).run.rerun_of for id in first.done]
    assert originals == failed
    assert await ring.call(rerun) == first
    assert ring.rows("SELECT count(*) FROM run") == [(5,)]


# Events


async def test_each_event_is_kept_or_refused_by_itself(ring: Ring) -> None:
    waiting = await ring.parked(FOR_EVENT)
    ended = await _ended(ring)
    good, late, lost = event_of(waiting.id), event_of(ended), event_of(new_id())
    sent = await ring.call(SendEvents(events=(good, late, lost)))
    assert sent.ids == (good.id,)
    assert [(r.id, r.error) for r in sent.refused] == [
        (late.id, "InvalidTransition"), (lost.id, "NotFound")
    ]  # fmt: skip
    assert await ring.status(waiting.id) == "queued"
    assert ring.rows("SELECT operation, detail FROM audit WHERE operation = 'SendEvents'") == [
        ("SendEvents", "1 events")
    ]


# Commands


async def test_a_command_id_makes_new_ids_mean_the_same_start(ring: Ring) -> None:
    first = await ring.call(StartRuns(starts=(start_of(),), command_id="key-1"))
    again = await ring.call(StartRuns(starts=(start_of(),), command_id="key-1"))
    assert again == first
    other = StartRuns(starts=(start_of(input=b'{"n":2}'),), command_id="key-1")
    assert isinstance(await ring.refused(other), Conflict)
    assert ring.rows("SELECT count(*) FROM run") == [(1,)]


async def test_an_equal_request_is_the_same_however_it_was_made(ring: Ring) -> None:
    start = start_of()
    same = msgspec.structs.replace(
        start, options=RunOptions(attributes=dict[str, str | int | float | bool]())
    )
    assert same == start
    first = await ring.call(StartRuns(starts=(start,), command_id="key-1"))
    assert await ring.call(StartRuns(starts=(same,), command_id="key-1")) == first


async def test_a_refused_command_may_be_sent_again(ring: Ring) -> None:
    await ring.start(reference_id="order-1")
    taken = StartRuns(starts=(start_of(reference_id="order-1"),), command_id="key-1")
    assert isinstance(await ring.refused(taken), Conflict)
    mended = StartRuns(starts=(start_of(reference_id="order-2"),), command_id="key-1")
    assert (await ring.call(mended))[0].created


async def test_answers_are_kept_for_a_day(ring: Ring) -> None:
    start = StartRuns(starts=(start_of(),), command_id="key-1")
    await ring.call(start)
    await ring.pass_time(DAY_MS - 1_000)
    await forget(ring.engine)
    assert ring.rows("SELECT count(*) FROM answer") == [(1,)]
    await ring.pass_time(2_000)
    await forget(ring.engine)
    assert ring.rows("SELECT count(*) FROM answer") == [(0,)]


# Namespaces


async def test_each_namespace_keeps_its_runs_as_long_as_it_chose(ring: Ring) -> None:
    default = await _ended(ring)
    await ring.worker("worker-1")
    await ring.call(SetRetention(retention_ms=1_000))
    assert await ring.call(GetNamespace()) == Namespace("default", 1_000)
    other = ring.engine.session(Principal(namespace="other"))
    await other.call(SetRetention(retention_ms=0))
    await ring.pass_time(2_000)
    assert await retention(ring.engine) == 1
    assert ring.rows("SELECT count(*) FROM run WHERE id = ?", default) == [(0,)]
    assert isinstance(await ring.refused(SetRetention(retention_ms=-1)), InvalidRequest)


async def test_retention_goes_on_until_nothing_is_left(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki.engine.daemons.AT_ONCE", 2)
    for _ in range(5):
        await _ended(ring)
    await ring.call(SetRetention(retention_ms=1_000))
    await ring.pass_time(2_000)
    assert await retention(ring.engine) == 5


async def test_the_backlog_counts_what_waits_for_workers(ring: Ring) -> None:
    await ring.running()
    await ring.start()
    await ring.pass_time(5_000)
    await ring.start()
    await ring.start(shard="eu")
    counted = await ring.call(GetBacklog())
    assert [(b.workflow, b.shard, b.ready) for b in counted] == [
        ("orders", "", 2), ("orders", "eu", 1)
    ]  # fmt: skip
    assert counted[0].oldest_ms >= 5_000 > counted[1].oldest_ms
    assert await ring.engine.session(Principal(namespace="other")).call(GetBacklog()) == ()


# Changes


async def test_changes_since_a_cursor_and_the_moment_before(ring: Ring) -> None:
    start = (await ring.call(GetChanges())).cursor
    run_id = await ring.start()
    found = await ring.call(GetChanges(cursor=start))
    assert [(c.run_id, c.status, c.reason) for c in found.changes] == [(run_id, "queued", "new")]
    again = await ring.call(GetChanges(cursor=found.cursor))
    assert again.changes == found.changes
    await ring.pass_time(OVERLAP_MS + 1_000)
    later = await ring.call(GetChanges(cursor=(await ring.now())))
    assert later.changes == ()


async def test_whoever_is_far_behind_goes_on_all_the_same(ring: Ring) -> None:
    cursor = (await ring.call(GetChanges())).cursor
    runs: set[str] = set()
    for _ in range(7):
        runs.add(await ring.start())
        await ring.pass_time(1)
    seen: set[str] = set()
    for _ in range(20):
        page = await ring.call(GetChanges(cursor=cursor, limit=3))
        seen |= {change.run_id for change in page.changes}
        cursor = page.cursor
    assert runs <= seen
