"""Ordering keys: of a workflow's unfinished runs with the same key, only the first is executed.

Runs with the same key form a line. A run takes its place, the next number of the line, in the
transaction that starts it, and keeps it until it ends: while it is delayed, sleeps, waits for a
retry, is paused or stalled. The transaction that ends a run also admits the first of those that are
left. Whoever changes a line holds the lock of its row until the commit, so that an end and a start
at the same time see each other.

Runs are locked before lines, and the one that is admitted after its line. Two transactions that
meet there, one that admits a run and one that ends it, are told apart by the database, which
repeats one of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from aiki.engine.batch import Batch
from aiki.engine.views import options_of
from aiki.machine import Admit
from aiki.model.run import TERMINAL, Run
from aiki.store.records import Turn


def has_key(run: Run) -> bool:
    """Whether the run stands in a line; cheaper than to decode what was chosen at its start."""
    return b'"ordering_key"' in run.options and options_of(run).ordering_key is not None


def line_of(run: Run) -> str:
    """The line in which the run stands; of no meaning for a run without a key."""
    parts = (run.namespace, run.workflow, options_of(run).ordering_key or "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


async def keep_order(batch: Batch) -> None:
    """After all of a batch is decided and saved: give and take places, and admit who is first."""
    moved = [batch.runs[run_id] for run_id in batch.changed if run_id in batch.runs]
    moved = [run for run in moved if has_key(run)]
    ended = [run for run in moved if run.state.status in TERMINAL]
    waiting = [run for run in moved if run.state.status == "awaiting_turn"]
    # One that was paused in the batch that starts it has a place, too.
    begun = [r for r in moved if r.id in batch.inputs and r.state.status not in TERMINAL]
    if not ended and not waiting and not begun:
        return
    lines = sorted({line_of(run) for run in (*ended, *waiting, *begun)})
    await _take_places(begun, lines, batch)
    if ended:
        await batch.tx.end_turns([run.id for run in ended])
    await _admit_first(lines, batch)


async def _take_places(begun: list[Run], lines: list[str], batch: Batch) -> None:
    order = {run_id: place for place, run_id in enumerate(batch.inputs)}
    begun.sort(key=lambda run: order[run.id])
    added = Counter(line_of(run) for run in begun)
    last = await batch.tx.line_up({line: added[line] for line in lines})
    turns: list[Turn] = []
    for run in begun:
        line = line_of(run)
        turns.append(Turn(run.id, line, last[line] - added[line] + 1))
        added[line] -= 1
    if turns:
        await batch.tx.take_turns(turns)


async def _admit_first(lines: list[str], batch: Batch) -> None:
    first = await batch.tx.first_turns(lines)
    empty = [line for line in lines if line not in first]
    if empty:
        await batch.tx.drop_lines(empty)
    unknown = sorted(set(first.values()) - batch.runs.keys())
    if unknown:
        for run in await batch.tx.load_runs(unknown):
            batch.runs[run.id] = run
    for run_id in first.values():
        run = batch.runs[run_id]
        if run.state.status == "awaiting_turn":
            batch.move(run, Admit())
    await batch.flush()
