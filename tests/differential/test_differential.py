"""The engine against the oracle: random operations, stale claims, lost replies and crashes.

After every step the answers are the same, all that is kept is the same, and the invariants hold,
on every store. `AIKI_TEST_EXAMPLES` makes the search longer: it is the number of examples for
SQLite, and stores on servers get a part of it.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aiki import failpoints
from tests.differential import steps
from tests.differential.pair import COVERED, PLACES, Pair, choose
from tests.differential.reporting import report
from tests.differential.stores import each_kind, frozen_clock, kinds, using

EXAMPLES = int(os.environ.get("AIKI_TEST_EXAMPLES", "25"))
SLOWER = 5
"""A store on a server gets one example for so many of SQLite's."""
STEPS = 120
ACTIONS = (
    [steps.start] * 4 + [steps.register] * 2 + [steps.claim] * 8 + [report] * 16
    + [steps.event] * 7 + [steps.tick] * 4 + [steps.heartbeat] * 2 + [steps.cancel] * 2
    + [steps.control] * 3 + [steps.late_repeat] * 2
    + [steps.leave, steps.terminate, steps.events, steps.rerun, steps.cancel_many,
       steps.rerun_many, steps.choose_retention, steps.look, steps.presence, steps.presence]
)  # fmt: skip


def live(kind: str, number: int, *, engines: int = 1, faults: float = 0.0) -> None:
    """One example: a whole life of a database, chosen by its number."""
    folder = Path(tempfile.mkdtemp(prefix="aiki-"))
    with using(kind, faults), frozen_clock(kind):
        pair = Pair(folder / "a.db", random.Random(number), engines, crashes=not faults)
        try:
            for worker in steps.WORKERS:
                steps.register(pair, worker)
                steps.start(pair)
            for _ in range(STEPS):
                pair.draw(choose.sampled_from(ACTIONS))(pair)
                pair.compare()
        finally:
            failpoints.armed.clear()
            pair.close()
            shutil.rmtree(folder)


def examples(kind: str) -> int:
    return EXAMPLES if kind == "sqlite" else max(1, EXAMPLES // SLOWER)


NUMBERS = st.integers(0, 2**32)
_SETTINGS = settings(
    deadline=None, print_blob=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)  # fmt: skip


@pytest.mark.timeout(60 + 4 * EXAMPLES)
@each_kind
def test_the_engine_is_the_oracle(kind: str) -> None:
    @settings(_SETTINGS, max_examples=examples(kind))
    @given(number=NUMBERS)
    def search(number: int) -> None:
        live(kind, number)

    search()


@pytest.mark.timeout(60 + EXAMPLES)
@each_kind
def test_answers_that_are_lost_change_nothing(kind: str) -> None:
    """Each transaction may be obeyed and reported as timed out; whoever asked asks again."""
    COVERED.clear()
    for number in range(max(1, examples(kind) // 4)):
        live(kind, number, faults=0.2)
    assert COVERED["fault"] > 10


@pytest.mark.timeout(60 + EXAMPLES)
@each_kind
def test_engines_that_take_turns_are_one(kind: str) -> None:
    for number in range(max(1, examples(kind) // 4)):
        live(kind, number, engines=2)


MUST_HAPPEN = [
    *(f"{name} ok" for name in (
        "StartRuns", "RegisterWorker", "LeaveWorker", "ClaimRuns", "Report", "Heartbeat",
        "SendEvent", "SendEvents", "CancelRun", "CancelRuns", "TerminateRun", "PauseRun",
        "ResumeRun", "RedeliverRun", "RetryDiverged", "WaiveEntries", "RerunRun", "RerunRuns",
        "SetRetention", "GetBacklog", "GetNamespace", "ListRuns", "SeeWorker", "SuspectWorker",
    )),
    *(f"report {name} recorded" for name in (
        "NoneType", "Parked", "Completed", "Failed", "Released", "Diverged",
    )),
    *(f"crash {place}" for place in PLACES),
    "report Parked claim_lost", "report NoneType early",
    "wake_due", "recover", "stall", "retention", "forget",
    "StartRuns Conflict", "SendEvent Conflict", "CancelRun Conflict",
    "CancelRun InvalidTransition", "SendEvent NotFound", "Heartbeat NotFound",
]  # fmt: skip


@pytest.mark.skipif("sqlite" not in kinds(), reason="the choice of steps is the same everywhere")
def test_the_search_meets_every_operation() -> None:
    COVERED.clear()
    for number in range(20):
        live("sqlite", number)
    assert [name for name in MUST_HAPPEN if not COVERED[name]] == []
