"""`python -m bench`: run workloads, and print each beside its goal."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.databases import Database, databases
from bench.goals import GOALS, Goal
from bench.topologies import TOPOLOGIES, Stand
from bench.workloads import TINY, WORKLOADS, Measured, Sizes


class Counted(NamedTuple):
    """What does not depend on the machine's noise."""

    batches: int | None
    statements: int | None
    cpu_seconds: dict[str, float]

    def line(self) -> str:
        """In words."""
        cpu = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.cpu_seconds.items())
        counts = (
            ""
            if self.batches is None
            else f"{self.batches} commits, {self.statements} statements, "
        )
        return f"{counts}s of CPU: {cpu}"


class Row(NamedTuple):
    """One line of the table."""

    measured: Measured
    yardstick: float
    counted: Counted
    goal: Goal | None

    def line(self) -> str:
        """The figure, its goal in this run, and how it compares."""
        name, value, unit = self.measured
        head = f"{name:<12} {value:>10.2f} {unit:<12}"
        if self.goal is None:
            return head
        bound = self.goal.bound(self.yardstick)
        ratio = bound / value if self.goal.at_most else value / bound
        verdict = "reached" if ratio >= 1 else f"missed, at {ratio:.0%}"
        return f"{head} goal {self.goal.text:<10} = {bound:>9.2f}  {verdict}"


def measure(chosen: argparse.Namespace, names: list[str], sizes: Sizes) -> list[Row]:
    """Each workload on a database of its own, warmed up, with a yardstick before and after."""
    goals = GOALS.get((chosen.store, chosen.topology), {})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        with databases(chosen.store, Path(folder), chosen.url) as made:
            for name in names:
                database = made.fresh()
                before = database.commits_a_second()
                measured, counted = asyncio.run(_run(name, sizes, database, chosen.topology))
                yardstick = statistics.mean((before, database.commits_a_second()))
                rows += [Row(m, yardstick, counted, goals.get(m.name)) for m in measured]
    return rows


async def _run(
    name: str, sizes: Sizes, database: Database, topology: str
) -> tuple[list[Measured], Counted]:
    async with TOPOLOGIES[topology](database) as stand:
        await WORKLOADS[name](stand.client, TINY)
        before = _counters(stand)
        measured = await WORKLOADS[name](stand.client, sizes)
        return measured, _between(before, _counters(stand))


def _counters(stand: Stand) -> Counted:
    batches, statements = stand.counted() or (None, None)
    return Counted(batches, statements, stand.cpu_seconds())


def _between(before: Counted, after: Counted) -> Counted:
    spent = {name: end - before.cpu_seconds[name] for name, end in after.cpu_seconds.items()}
    if None in (before.batches, before.statements):
        return Counted(None, None, spent)
    batches: Any = after.batches
    statements: Any = after.statements
    return Counted(batches - before.batches, statements - before.statements, spent)


def _as_json(rows: list[Row]) -> str:
    return json.dumps(
        [
            {
                **row.measured._asdict(),
                "yardstick": row.yardstick,
                **row.counted._asdict(),
                "goal": row.goal.bound(row.yardstick) if row.goal else None,
            }
            for row in rows
        ],
        indent=2,
    )


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="W1..W6", help="all, if none is named")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--topology", choices=tuple(TOPOLOGIES), default="embedded")
    parser.add_argument("--url", help="PostgreSQL to use instead of one that is started here")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each workload")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.workloads) - WORKLOADS.keys()
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return chosen


def main(arguments: list[str]) -> None:
    """Parse the arguments, measure, print."""
    chosen = _parse(arguments)
    names = (chosen.workloads or list(WORKLOADS)) * chosen.repeat
    rows = measure(chosen, names, TINY if chosen.tiny else Sizes())
    if chosen.json:
        print(_as_json(rows))
        return
    mean = statistics.mean(row.yardstick for row in rows)
    print(f"{chosen.store}, {chosen.topology}; yardstick Y: {mean:.0f} commits/s (mean)")
    for row in rows:
        print(row.line())
        print(f"             Y {row.yardstick:.0f}/s, {row.counted.line()}")


if __name__ == "__main__":
    main(sys.argv[1:])
