"""The step that reports: what a worker recorded of one run, and maybe how its claim ends."""

from __future__ import annotations

from typing import Any

from aiki.model.run import RunOptions
from aiki.model.task import Divergence, Entry, TaskAttempt, Wait
from aiki.operations.work import Diverged, Ending, Failed, Parked, Released
from tests.differential import records as model
from tests.differential.pair import Pair, choose
from tests.differential.records import GRACE_MS
from tests.engine.support import COMPLETE, FAILURE, attempt, report_of, start_of


def report(pair: Pair) -> None:
    chosen = pair.some_claim()
    if chosen is None or chosen[1].id not in pair.oracle.runs:
        return
    worker, claimed = chosen
    run = pair.oracle.runs[claimed.id]
    ending, wanted_ending = _ending(pair, run)
    entries, wanted_entries = _entries(pair, run)
    tasks = _tasks(pair)
    children = [
        model.Child(pair.id(), f"call-{pair.fresh()}")
        for _ in range(pair.draw(choose.sampled_from([0, 0, 1])))
    ]
    options = RunOptions(cancel_grace_ms=GRACE_MS)
    operation = report_of(
        claimed, ending, incarnation=worker, entries=entries,
        attempts=tuple(_attempt(name, status) for name, status in tasks),
        children=tuple(start_of(id=child.id, options=options) for child in children),
        child_keys=tuple(child.key for child in children),
        command_id=wanted_ending.command_id if wanted_ending else None,
    )  # fmt: skip
    pair.ask(
        operation,
        lambda: pair.oracle.report(
            worker, claimed.id, claimed.epoch, entries=wanted_entries, tasks=tasks,
            children=children, ending=wanted_ending,
        ),
    )  # fmt: skip


def _ending(pair: Pair, run: model.Run) -> tuple[Ending | None, model.Ending | None]:
    kinds = ["park"] * 5 + ["complete", "fail", "retry", "release"] + ["diverge"] * 2 + [""] * 5
    kind = pair.draw(choose.sampled_from(kinds))
    if not kind:
        return None, None
    waits = [_wait(pair, run) for _ in range(pair.draw(choose.integers(1, 3)))]
    rows = list({(wait[0], wait[1]): wait for wait in waits}.values())
    delay = pair.draw(choose.sampled_from([0, 300]))
    endings: dict[str, Ending] = {
        "park": Parked(tuple(Wait(*row) for row in rows)),  # type: ignore[arg-type]
        "complete": COMPLETE,
        "fail": Failed(FAILURE),
        "retry": Failed(FAILURE, delay),
        "release": Released(),
        "diverge": Diverged(Divergence((), ("b#0",), fingerprint="source-1")),
    }
    return endings[kind], model.Ending(kind, pair.id(), rows, delay)


def _wait(pair: Pair, run: model.Run) -> model.WaitRow:
    kind = pair.draw(choose.sampled_from(["event", "event", "timer", "child", "child"]))
    due = pair.oracle.now + pair.draw(choose.sampled_from([0, 300, 900, 900]))
    if kind == "event":
        timed = pair.draw(choose.booleans())
        return kind, pair.draw(choose.sampled_from(["paid", "sent"])), due if timed else None
    if kind == "child" and run.children:
        return kind, pair.draw(choose.sampled_from(sorted(run.children.values()))), None
    return "timer", f"t-{pair.fresh()}", due


def _entries(pair: Pair, run: model.Run) -> tuple[tuple[Entry, ...], list[model.Entry]]:
    """New entries: results, a timer that may be early, and a fact out of the inbox."""
    draw = pair.draw
    number = max(run.entries.get(run.attempt, [0]), default=0) + 1
    entries: list[Entry] = []
    wanted: list[model.Entry] = []
    if draw(choose.booleans()):
        due = pair.oracle.now + draw(choose.sampled_from([-5, 0, 0, 400]))
        kind = draw(choose.sampled_from(["task", "timer"]))
        timer = due if kind == "timer" else None
        entries.append(Entry(number, kind, f"x:{number}", 0, 0, value=b"1", due_at=timer))
        wanted.append(model.Entry(number, kind, None, timer))
        number += 1
    if run.inbox and draw(choose.booleans()):
        fact = draw(choose.sampled_from(run.inbox))
        fact_id = _fact_id(pair, run, fact)
        entries.append(Entry(number, fact.kind, f"x:{number}", 0, 0, fact_id=fact_id))
        wanted.append(model.Entry(number, fact.kind, fact))
    return tuple(entries), wanted


def _fact_id(pair: Pair, run: model.Run, fact: model.Fact) -> str:
    """The engine's id of an untaken fact: only those of events are made by senders."""
    if fact.event_id is not None:
        return fact.event_id
    found = pair.look.rows(
        f"SELECT id FROM fact WHERE run_id = '{run.id}' AND consumed_by IS NULL"
        f" AND kind = '{fact.kind}' AND name = '{fact.name}' ORDER BY id"
    )
    return str(found[0][0])


def _tasks(pair: Pair) -> list[tuple[str, str]]:
    statuses = ["running", "running", "completed", "failed"]
    return [
        (f"task-{name}", pair.draw(choose.sampled_from(statuses)))
        for name in range(3)
        if pair.draw(choose.integers(0, 3)) == 0
    ]


def _attempt(name: str, status: Any) -> TaskAttempt:
    return attempt(address=name, name=name, status=status)
