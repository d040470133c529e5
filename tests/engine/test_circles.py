"""Lines that wait for each other over parents and children: found, and a way out is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiki import ChildFailed, Run, workflow
from aiki.compose import inspect
from aiki.engine.daemons import untangle
from aiki.model.run import RunOptions
from aiki.model.task import Wait
from aiki.operations.work import ClaimedRun, Parked
from tests.differential.stores import each_kind, using
from tests.engine.support import COMPLETE, FOR_EVENT, RECORDED, Ring, child_of, start_of
from tests.support.app import LIMIT, app_on
from tests.support.databases import url_of

A, B, C = (RunOptions(ordering_key=key) for key in "abc")


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
async def lines(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ring]:
    """An engine on each store."""
    with using(str(request.param)):
        ring = Ring(tmp_path / "a.db")
        await ring.engine.start()
        await ring.worker()
        yield ring
        await ring.engine.stop()
        await ring.store.close()
        assert await inspect(url_of(ring.path)) == []


async def executed(ring: Ring, options: RunOptions) -> ClaimedRun:
    """A run of this key, claimed by worker-1."""
    await ring.start(options=options)
    return await ring.take()


async def wait_for_children(ring: Ring, parent: ClaimedRun, *children: Any, also: Any = ()) -> None:
    """Start these children, and park until they end."""
    starts: dict[str, Any] = {"children": (), "child_keys": ()}
    for number, child in enumerate(children):
        fields = child_of(parent, f"call#{number}", id=child.id, options=child.options)
        starts = {name: starts[name] + fields[name] for name in starts}
    waits = [Wait("child", child.id) for child in children]
    assert await ring.report(parent, Parked((*waits, *also)), **starts) == RECORDED


async def test_of_two_lines_that_cross_the_younger_child_fails(lines: Ring) -> None:
    first, second = await executed(lines, A), await executed(lines, B)
    older, younger = start_of(options=B), start_of(options=A)
    await wait_for_children(lines, first, older)
    assert await untangle(lines.engine) == 0, "nobody waits for the first yet"
    await wait_for_children(lines, second, younger)
    assert await untangle(lines.engine) == 1
    assert await lines.reasons(younger.id) == ["new", "deadlock"]
    failure = (await lines.result(younger.id)).failure
    assert failure is not None
    for run_id in (first.id, second.id, older.id, younger.id):
        assert run_id in failure.describe()
    assert "OrderingDeadlock" in failure.describe()
    assert await untangle(lines.engine) == 0
    # The parent is told, and all go on.
    for expected in (second.id, older.id, first.id):
        run = await lines.take()
        assert run.id == expected
        assert await lines.report(run, COMPLETE) == RECORDED


async def test_a_long_circle_is_found_over_runs_without_a_key(lines: Ring) -> None:
    parents = [await executed(lines, options) for options in (A, B, C)]
    between = start_of()
    await wait_for_children(lines, parents[0], between)
    middle = await lines.take()
    await wait_for_children(lines, middle, start_of(options=B))
    await wait_for_children(lines, parents[1], start_of(options=C))
    assert await untangle(lines.engine) == 0
    last = start_of(options=A)
    await wait_for_children(lines, parents[2], last)
    assert await untangle(lines.engine) == 1
    assert await lines.status(last.id) == "failed"


async def test_each_child_that_a_parent_waits_for_in_vain_ends_in_turn(lines: Ring) -> None:
    first, second = await executed(lines, A), await executed(lines, B)
    await wait_for_children(lines, first, start_of(options=B))
    children = [start_of(options=A) for _ in range(2)]
    await wait_for_children(lines, second, *children)
    assert await untangle(lines.engine) == 1
    woken = await lines.take()
    assert woken.id == second.id
    (left,) = [child for child in children if await lines.status(child.id) == "awaiting_turn"]
    assert await lines.report(woken, Parked((Wait("child", left.id),))) == RECORDED
    assert await untangle(lines.engine) == 1
    assert await lines.status(left.id) == "failed"


async def test_whoever_may_still_be_woken_is_left_alone(lines: Ring) -> None:
    first, second = await executed(lines, A), await executed(lines, B)
    await wait_for_children(lines, first, start_of(options=B))
    child, free = start_of(options=A), start_of()
    await wait_for_children(lines, second, child, free)
    assert await untangle(lines.engine) == 0, "one of its children is executed"
    third, fourth = await lines.take(), await executed(lines, C)
    assert third.id == free.id
    await wait_for_children(lines, fourth, start_of(options=A), also=(FOR_EVENT,))
    await wait_for_children(lines, third, start_of(options=C))
    assert await untangle(lines.engine) == 0, "an event may come"


async def test_a_long_line_without_a_circle_is_untouched(lines: Ring) -> None:
    first = await executed(lines, A)
    behind = [await lines.start(options=A) for _ in range(30)]
    await wait_for_children(lines, first, start_of(options=B))
    await lines.start(options=B)
    assert await untangle(lines.engine) == 0
    assert {await lines.status(run_id) for run_id in behind} == {"awaiting_turn"}


@workflow("account").version("1")
async def account(run: Run, other: str, depth: int) -> str:
    """Each has the other done in the other's line."""
    await run.sleep("until the other has begun", timedelta(milliseconds=200))
    if not depth:
        return "done"
    try:
        return await account.options(ordering_key=other)(run, "", depth - 1)
    except ChildFailed as error:
        return error.failure.describe()


@each_kind
async def test_the_daemon_untangles_and_the_parent_may_handle_it(kind: str, tmp_path: Path) -> None:
    with using(kind):
        async with app_on(tmp_path / "a.db", daemons=True, upkeep_interval_ms=50) as app:
            app.work(account)
            left = await account.options(ordering_key="left").enqueue(app.client, "right", 1)
            right = await account.options(ordering_key="right").enqueue(app.client, "left", 1)
            told = [await handle.result(timeout=LIMIT) for handle in (left, right)]
            assert sorted("OrderingDeadlock" in each for each in told) == [False, True]
            assert "done" in told
