"""Circles: runs that wait for each other for ever, over their lines and over their children.

A run that awaits its turn waits for the first of its line; one that is parked may wait for
children. Where all that a run waits for leads back into such waiting, nothing ever wakes it. Of
each circle the youngest child that awaits its turn ends as failed, and its parent, which is told,
can go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from aiki.engine.batch import Batch
from aiki.engine.ordering import line_of
from aiki.machine import Untangle
from aiki.model.audit import Principal
from aiki.model.failure import Raised
from aiki.model.run import Run
from aiki.operations.base import Operation, Role
from aiki.store.protocol import Transaction

_MOST_RUNS = 5_000
"""Looked at in one search; where more hang together, none of them is judged."""
_Graph = dict[str, Sequence[str]]
"""For each run those that it waits for; nothing for one that something else may wake."""


class UntangleRuns(Operation[int], frozen=True, kw_only=True):
    """End a child of each circle that is found from these runs. Sent by daemons only."""

    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True

    ids: tuple[str, ...]


async def prepare_untangling(operation: UntangleRuns, principal: Principal, batch: Batch) -> None:
    """Search again, and name all that is found: nothing of it may change until the commit."""
    batch.circles = await find_circles(operation.ids, batch.tx)
    for circle in batch.circles:
        batch.names.runs.update(run.id for run in circle)
        batch.names.waits.update(run.id for run in circle)


def apply_untangling(operation: UntangleRuns, principal: Principal, batch: Batch) -> int:
    """End the youngest child that awaits its turn, unless the circle has changed meanwhile."""
    ended = 0
    for circle in batch.circles:
        if all(batch.runs.get(run.id) == run for run in circle):
            victim = max(_in_turn(circle), key=lambda run: (run.created_at, run.id))
            batch.end(batch.move(victim, Untangle()), _failure(victim, circle))
            ended += 1
    return ended


def _failure(victim: Run, circle: Sequence[Run]) -> Raised:
    place = circle.index(victim)
    names = [f"{run.workflow} {run.id}" for run in (*circle[place:], *circle[:place], victim)]
    return Raised(
        "OrderingDeadlock",
        f"these runs wait for each other's turns and ends: {', '.join(names)}; give runs that "
        "start children in each other's lines one ordering key, or their children none",
    )


async def find_circles(starts: Iterable[str], tx: Transaction) -> list[Sequence[Run]]:
    """Circles that are reached from these runs and share none, each in the order of its waits."""
    runs, graph = await _explore(starts, tx)
    stuck = _stuck(graph)
    circles: list[Sequence[Run]] = []
    while stuck:
        path = [next(iter(stuck))]
        while (following := next(each for each in graph[path[-1]] if each in stuck)) not in path:
            path.append(following)
        circle = path[path.index(following) :]
        circles.append([runs[run_id] for run_id in circle])
        # What hangs on a circle goes on when that is broken, or is found by the next look.
        stuck = _stuck({run_id: graph[run_id] for run_id in stuck - set(circle)})
    return circles


async def _explore(starts: Iterable[str], tx: Transaction) -> tuple[dict[str, Run], _Graph]:
    runs: dict[str, Run] = {}
    graph: _Graph = {}
    front = set(starts)
    while front and len(graph) + len(front) <= _MOST_RUNS:
        found = await tx.peek_runs(sorted(front))
        runs.update((run.id, run) for run in found)
        graph.update(dict.fromkeys(front, ()))
        graph.update(await _waits_of(found, tx))
        front = {each for run_id in front for each in graph[run_id]} - graph.keys()
    graph.update(dict.fromkeys(front, ()))
    return runs, graph


async def _waits_of(runs: Sequence[Run], tx: Transaction) -> _Graph:
    lines = {run.id: line_of(run) for run in _in_turn(runs)}
    first = await tx.first_turns(sorted(set(lines.values()))) if lines else {}
    parked = [run.id for run in runs if run.state.status == "waiting"]
    waits = await tx.load_waits(parked) if parked else {}
    graph: _Graph = {run_id: [first[line]] for run_id, line in lines.items() if line in first}
    for run_id, its in waits.items():
        if all(wait.kind == "child" and wait.due_at is None for wait in its):
            graph[run_id] = [wait.name for wait in its]
    return graph


def _stuck(graph: _Graph) -> set[str]:
    """The runs that only wait for such runs."""
    stuck = set(graph)
    while free := {
        run_id for run_id in stuck if not graph[run_id] or not stuck.issuperset(graph[run_id])
    }:
        stuck -= free
    return stuck


def _in_turn(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.state.status == "awaiting_turn"]
