"""Cost does not grow with what has finished: each question does the same work in a large database.

`AIKI_TEST_FINISHED_RUNS` says how large; the small one has a tenth of it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.differential.stores import each_kind, using
from tests.scale.fill import fill
from tests.scale.meters import Meter, open_meter, run
from tests.scale.questions import QUESTIONS
from tests.support import databases

FINISHED = int(os.environ.get("AIKI_TEST_FINISHED_RUNS", "20000"))
GROWTH = 2.0
"""A tree that is a level deeper costs a little more; what reads everything costs tenfold."""
SLACK = {"sqlite": 2_000, "postgresql": 60, "mysql": 300}


@pytest.mark.timeout(120 + FINISHED // 1_000)
@each_kind
def test_no_question_costs_more_when_more_has_finished(kind: str, tmp_path: Path) -> None:
    costs: dict[str, tuple[int, int]] = {}

    async def compare() -> None:
        meter = await open_meter(tmp_path / "scale.db")
        try:
            await _fill(meter, 0, FINISHED // 10 - 1)
            small = await _costs(meter)
            await _fill(meter, FINISHED // 10, FINISHED - 1)
            large = await _costs(meter)
        finally:
            await meter.close()
        costs.update({name: (small[name], large[name]) for name in QUESTIONS})

    with using(kind):
        run(compare)
    slack = SLACK[kind]
    grown = {n: pair for n, pair in costs.items() if pair[1] > GROWTH * pair[0] + slack}
    assert grown == {}


async def _fill(meter: Meter, low: int, high: int) -> None:
    made: list[str] = []
    fill(databases.KIND, made.append, low, high, now=2_000_000_000_000)
    for sql in made:
        await meter.execute(sql)
    await meter.settle()


async def _costs(meter: Meter) -> dict[str, int]:
    return {name: await meter.measure(question) for name, question in QUESTIONS.items()}
