"""Laws of the chaos matrix: short cells of it are right, and it can tell what is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.cell import Cell
from tests.chaos.expectation import Execution, Expectation
from tests.chaos.load import expectation, plan
from tests.chaos.nemesis import kinds_for, schedule
from tests.chaos.report import Outcome, Stuck, markdown
from tests.chaos.trees import SHARDS, all_of

RIGHT = Outcome(
    store="sqlite",
    queue="redis",
    seed=1,
    runs=2,
    faults=Counter({"worker killed": 1}),
    recovered=1,
    executions=[Execution("a", "k"), Execution("a", "k")],
    expected=Expectation(frozenset({"a"})),
    answers={},
    stuck=(),
    broken=(),
    failures=(),
    left=0,
    longest_pause_seconds=0.5,
    seconds=1.0,
)


@pytest.mark.slow
@pytest.mark.timeout(240)  # it names a stuck run after 90 s
@pytest.mark.parametrize(("store", "queue"), [("sqlite", "redis"), ("postgresql", "rabbitmq")])
async def test_a_short_cell_is_right(store: str, queue: str, tmp_path: Path) -> None:
    outcome = await Cell(store, queue, 3, 8, tmp_path).run()
    assert outcome.objections() == []
    assert outcome.runs == sum(len(each.runs) for each in plan(3, 8))
    assert sum(outcome.faults.values()) >= 3


def test_what_is_cancelled_may_get_as_far_as_it_does() -> None:
    known = Expectation(frozenset({"a"}), possible=frozenset({"b"}))
    a, b = Execution("a", "k"), Execution("b", "k")
    assert known.objections([a]) == known.objections([b, a, b]) == []
    assert known.objections([a, b, b._replace(key="l")]) == ["counter b was raised under 2 keys"]


def test_a_line_is_in_order_although_a_frozen_worker_repeats_what_is_over() -> None:
    known = Expectation(frozenset("abc"), lines=[[frozenset("ab"), frozenset("c")]])
    a, b, c = (Execution(name, "k") for name in "abc")
    assert known.objections([b, a, c]) == known.objections([a, b, c, a]) == []
    assert known.objections([a, c, b]) == ["counter c was raised before b, whose turn was before"]


def test_a_worker_of_a_shard_raises_its_counters_alone() -> None:
    known = Expectation(frozenset({"a"}), shards={"a": "east"})
    assert known.objections([Execution("a", "k", "east")]) == []
    for other in ("", "west"):
        (told,) = known.objections([Execution("a", "k", other)])
        assert told == f"counter a of shard 'east' was raised by a worker of {other!r}"


def test_the_plan_has_all_kinds() -> None:
    planned = plan(1, 60)
    expected = expectation(planned)
    assert set(expected.shards.values()) == set(SHARDS)
    assert expected.possible
    assert not expected.possible & expected.certain
    assert len(expected.lines) > 10
    kinds = {node.kind for each in planned for run in each.runs for node in all_of(run)}
    assert kinds >= {"stubborn", "doomed", "child", "wait", "steps"}


def test_trees_and_faults_are_functions_of_the_seed() -> None:
    kinds = kinds_for("postgresql", "redis")
    assert schedule(5, 60, kinds) == schedule(5, 60, kinds) != schedule(6, 60, kinds)
    assert plan(5, 60) == plan(5, 60) != plan(6, 60)
    assert plan(5, 60)[:50] == plan(5, 30)[:50]
    assert {fault.kind for fault in schedule(1, 60, kinds)} == set(kinds)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stuck": (Stuck("r", "queued", "queued (new)"),)}, "run r is stuck: queued, last tran"),
        ({"stuck": (Stuck("r", "failed", "failed (error)"),)}, "run r ended as failed"),
        ({"executions": []}, "counter a was never raised"),
        ({"executions": [Execution("a", "k"), Execution("a", "l")]}, "was raised under 2 keys"),
        ({"executions": [Execution("a", "k"), Execution("b", "k")]}, "counter b is nobody's"),
        ({"executions": [Execution("a", "k", "east")]}, "a worker of 'east'"),
        ({"failures": ("worker 1 ended by itself with 1",)}, "worker 1 ended by itself"),
        ({"answers": {"r-1": (3, 4)}}, "run r-1 answered 3 instead of 4"),
        ({"broken": ("entries have no gaps",)}, "breaks a law: entries have no gaps"),
        ({"left": 5}, "the broker keeps 5 messages"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, object], told: str) -> None:
    assert RIGHT.objections() == []
    assert "| 1 | 1 | 0.5 s | right |" in markdown([RIGHT])
    wrong = RIGHT._replace(**change)  # type: ignore[arg-type]
    assert told in wrong.objections()[0]
    assert told in markdown([wrong])
    assert "**wrong (1)**" in markdown([wrong])
