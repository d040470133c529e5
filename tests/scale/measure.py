"""How long each question takes with nothing in the database, and with a great many finished runs.

Run as `python -m tests.scale.measure sqlite --runs 1000000`: it prints milliseconds, the median of
a few tries, and the work that the database counts. What is measured is also what must stay flat;
times tell how much that is.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import tempfile
from pathlib import Path

from aiki.clock import SYSTEM
from aiki.errors import NotFound, StoreUnavailable
from tests.differential.stores import using
from tests.engine.support import Ring
from tests.scale.fill import fill
from tests.scale.meters import Meter, Question, open_meter, open_ring
from tests.scale.questions import BY_READY, QUESTIONS, SIEVED

TRIES = 5


async def measure(kind: str, runs: int, path: Path) -> None:
    """Print a line for each question."""
    meter = await open_meter(path)
    questions = QUESTIONS | BY_READY | SIEVED
    empty = await _ask_all(meter, path, questions)
    began = SYSTEM.monotonic()
    made: list[str] = []
    fill(kind, made.append, 0, runs - 1, now=SYSTEM.wall())
    for sql in made:
        await meter.execute(sql)
    await meter.settle()
    print(f"{kind}: {runs} finished runs, filled in {SYSTEM.monotonic() - began:.0f} s")
    full = await _ask_all(meter, path, questions)
    await meter.close()
    print("     ms empty        ms full     work empty      work full")
    for name in questions:
        (before, little), (after, much) = empty[name], full[name]
        print(f"{before:13.1f} {after:14.1f} {little:14} {much:14}  {name}")


async def _ask_all(
    meter: Meter, path: Path, questions: dict[str, Question]
) -> dict[str, tuple[float, int]]:
    """Milliseconds and work of each."""
    ring = await open_ring(path)
    found: dict[str, tuple[float, int]] = {}
    for name, question in questions.items():
        try:
            work = await meter.measure(question)
            found[name] = (await _median_ms(ring, question), work)
        except NotFound:
            # The run that it asks for is not there yet.
            found[name] = (0.0, 0)
        except StoreUnavailable:
            # The database gave up on it.
            found[name] = (math.inf, 0)
    await ring.engine.stop()
    return found


async def _median_ms(ring: Ring, question: Question) -> float:
    times: list[float] = []
    for _ in range(TRIES):
        began = SYSTEM.monotonic()
        await question(ring)
        times.append((SYSTEM.monotonic() - began) * 1_000)
    return statistics.median(times)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", choices=["sqlite", "postgresql", "mysql"])
    parser.add_argument("--runs", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with using(chosen.store), tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(chosen.store, chosen.runs, Path(folder) / "scale.db"))


if __name__ == "__main__":
    main()
