"""`python -m bench`: run workloads, and print each beside its goal."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiki
from aiki.compose import EmbeddedConnection
from bench.workloads import TINY, WORKFLOWS, WORKLOADS, Measured, Sizes
from bench.yardstick import commits_a_second


class Goal(NamedTuple):
    """A bound in units of the yardstick, and which side of it is good."""

    text: str
    bound: Callable[[float], float]
    at_most: bool


GOALS: dict[str, Goal] = {
    "W1 p50": Goal("<= 6/S s", lambda s: 6 / s * 1000, True),
    "W2": Goal("<= 2/S s", lambda s: 2 / s * 1000, True),
    "W3": Goal(">= 0.8 S", lambda s: 0.8 * s, False),
    "W4": Goal(">= 4 S", lambda s: 4 * s, False),
    "W5 singly": Goal(">= 0.6 S", lambda s: 0.6 * s, False),
    "W5 bulk": Goal(">= 6 S", lambda s: 6 * s, False),
    "W6 children": Goal("<= 0.25 s", lambda s: 0.25, True),
    "W6 steps": Goal("<= 0.08 s", lambda s: 0.08, True),
}


class Counted(NamedTuple):
    """What does not depend on the machine's noise."""

    batches: int
    statements: int
    cpu_seconds: float


class Row(NamedTuple):
    """One line of the table."""

    measured: Measured
    yardstick: float
    counted: Counted

    def line(self) -> str:
        """The figure, its goal in this run, and how it compares."""
        name, value, unit = self.measured
        goal = GOALS.get(name)
        head = f"{name:<12} {value:>10.2f} {unit:<12}"
        if goal is None:
            return head
        bound = goal.bound(self.yardstick)
        ratio = bound / value if goal.at_most else value / bound
        verdict = "reached" if ratio >= 1 else f"missed, at {ratio:.0%}"
        return f"{head} goal {goal.text:<10} = {bound:>9.2f}  {verdict}"


async def measure(names: list[str], sizes: Sizes) -> list[Row]:
    """Each workload on a database of its own, warmed up, with a yardstick before and after."""
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            before = commits_a_second(Path(folder))
            measured, counted = await _run(name, sizes, Path(folder))
            yardstick = statistics.mean((before, commits_a_second(Path(folder))))
        rows += [Row(figure, yardstick, counted) for figure in measured]
    return rows


async def _run(name: str, sizes: Sizes, folder: Path) -> tuple[list[Measured], Counted]:
    client = aiki.connect(f"sqlite:///{folder / 'bench.db'}")
    async with client:
        worker = asyncio.create_task(aiki.Worker(client, workflows=WORKFLOWS).run())
        await WORKLOADS[name](client, TINY)
        before = _counters(client)
        measured = await WORKLOADS[name](client, sizes)
        after = _counters(client)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    spent: Any = [b - a for a, b in zip(before, after, strict=True)]
    return measured, Counted(*spent)


def _counters(client: aiki.Client) -> tuple[int, int, float]:
    connection: Any = client._connection
    assert isinstance(connection, EmbeddedConnection)
    engine: Any = connection.host.engine
    return engine.committer.batches, engine.store.statements_executed, time.process_time()


def _as_json(rows: list[Row]) -> str:
    return json.dumps(
        [
            {
                **row.measured._asdict(),
                "yardstick": row.yardstick,
                **row.counted._asdict(),
                "goal": GOALS[row.measured.name].bound(row.yardstick)
                if row.measured.name in GOALS
                else None,
            }
            for row in rows
        ],
        indent=2,
    )


def main(arguments: list[str]) -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="W1..W6", help="all, if none is named")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each workload")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.workloads) - WORKLOADS.keys()
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    names = (chosen.workloads or list(WORKLOADS)) * chosen.repeat
    rows = asyncio.run(measure(names, TINY if chosen.tiny else Sizes()))
    if chosen.json:
        print(_as_json(rows))
        return
    print(f"yardstick S: {statistics.mean(row.yardstick for row in rows):.0f} commits/s (mean)")
    for row in rows:
        print(row.line())
        print(
            f"             S {row.yardstick:.0f}/s, {row.counted.batches} commits, "
            f"{row.counted.statements} statements, {row.counted.cpu_seconds:.2f} s CPU"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
