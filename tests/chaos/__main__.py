"""`python -m tests.chaos --seed 7 --seconds 60`: stores and queues, a load and a nemesis, a report.

Faults and trees are functions of the seed alone. The exit status is 0 where every cell is right.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.chaos.cell import Cell
from tests.chaos.report import Outcome, markdown
from tests.chaos.services import BROKERS

STORES = ("sqlite", "postgresql", "mysql")
QUEUES = ("polling", "adaptive", *BROKERS)


def main(arguments: list[str]) -> int:
    """Run the cells one after the other, and write the report."""
    chosen = _options(arguments)
    print(f"seed {chosen.seed}, {chosen.seconds:g} s of faults in each cell", flush=True)
    outcomes: list[Outcome] = []
    missing = False
    for store in chosen.stores:
        for queue in chosen.queues:
            try:
                outcomes.append(_run(store, queue, chosen.seed, chosen.seconds))
                print(outcomes[-1].line(), flush=True)
            except pytest.skip.Exception as reason:
                missing = True
                print(f"{store} x {queue}: not run; {reason}", flush=True)
    text = markdown(outcomes)
    if chosen.report is None:
        print(text)
    else:
        chosen.report.write_text(text, "utf-8")
    return int(missing or any(outcome.objections() for outcome in outcomes))


def _run(store: str, queue: str, seed: int, seconds: float) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix="aiki-chaos-"))
    outcome = asyncio.run(Cell(store, queue, seed, seconds, folder).run())
    if outcome.objections():
        print(f"what its servers and workers wrote stays in {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    return outcome


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults in each cell")
    for option, known in (("--stores", STORES), ("--queues", QUEUES)):
        parser.add_argument(
            option, type=lambda text: text.split(","), default=known, help=",".join(known)
        )
    parser.add_argument("--report", type=Path, help="file for the report; else it is printed")
    chosen = parser.parse_args(arguments)
    for option, known in (("stores", STORES), ("queues", QUEUES)):
        unknown = set(getattr(chosen, option)) - set(known)
        if unknown:
            parser.error(f"--{option}: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
