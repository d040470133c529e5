"""What may happen: each step draws one operation, or lets time pass, and asks both sides."""

from __future__ import annotations

from typing import Any

from aiki.engine.daemons import forget, recover, retention, stall, wake_due
from aiki.engine.workers import SeeWorker, SuspectWorker
from aiki.model.run import RunOptions
from aiki.operations.bulk import CancelRuns, RerunRun, RerunRuns, SendEvents
from aiki.operations.catalog import GetBacklog, GetNamespace, SetRetention
from aiki.operations.runs import (
    CancelRun,
    ListRuns,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RetryDiverged,
    RunQuery,
    StartRun,
    StartRuns,
    TerminateRun,
    WaiveEntries,
)
from aiki.operations.work import Heartbeat, Holding, LeaveWorker
from tests.differential.pair import Pair, choose
from tests.differential.records import ENDED, GRACE_MS, LEASE_MS, Event, Query, Start
from tests.engine.support import claim_of, event_of, registration, start_of

STALL_MS = 24 * 3_600_000
WORKERS = ("worker-1", "worker-2", "worker-3")
_CONTROLS = {
    "pause": PauseRun, "resume": ResumeRun, "redeliver": RedeliverRun, "retry": RetryDiverged,
    "waive": WaiveEntries,
}  # fmt: skip
_FITTING = {"resume": "paused", "redeliver": "stalled", "retry": "diverged", "waive": "diverged"}


def _command(pair: Pair) -> str | None:
    """Often a new command id, sometimes none."""
    return pair.id() if pair.draw(choose.integers(0, 2)) else None


# Clients


def _start(pair: Pair) -> Start:
    draw = pair.draw
    known = list(pair.oracle.runs)
    again = bool(known) and draw(choose.integers(0, 9)) == 0
    return Start(
        draw(choose.sampled_from(known)) if again else pair.id(),
        content=draw(choose.sampled_from([b"{}", b"{}", b"[]"])) if again else b"{}",
        reference=draw(choose.sampled_from([None, None, None, "a", "b", "A"])),
        existing=draw(choose.booleans()),
        delay=draw(choose.sampled_from([0, 0, 0, 500])),
        timeout=draw(choose.sampled_from([None, None, None, None, 700])),
        priority=draw(choose.integers(0, 2)),
    )


def _start_run(start: Start) -> StartRun:
    return start_of(
        id=start.id, input=start.content, reference_id=start.reference, delay_ms=start.delay,
        priority=start.priority, on_conflict="return_existing" if start.existing else "error",
        options=RunOptions(timeout_ms=start.timeout, cancel_grace_ms=GRACE_MS),
    )  # fmt: skip


def start(pair: Pair) -> None:
    count = pair.draw(choose.sampled_from([1, 1, 1, 2]))
    starts, command_id = [_start(pair) for _ in range(count)], _command(pair)
    asked = ("StartRuns", [one.nameless for one in starts])

    def send(starts: list[Start]) -> None:
        pair.ask(
            StartRuns(starts=tuple(map(_start_run, starts)), command_id=command_id),
            lambda: pair.oracle.once(command_id, asked, lambda: pair.oracle.start(starts)),
        )

    send(starts)
    if command_id is not None and pair.draw(choose.integers(0, 4)) == 0:
        # A sender that was restarted has other ids for the same request.
        send([Start(pair.id(), *one.nameless) for one in starts])


def _event(pair: Pair) -> Event:
    draw = pair.draw
    known = list(pair.oracle.events)
    again = bool(known) and draw(choose.integers(0, 4)) == 0
    event_id = draw(choose.sampled_from(known)) if again else pair.id()
    run_id, name = pair.some_run(), draw(choose.sampled_from(["paid", "sent"]))
    awake = [run.id for run in pair.oracle.runs.values() if run.status in ("waiting", "running")]
    if awake and draw(choose.booleans()):
        run_id = draw(choose.sampled_from(awake))
    key = draw(choose.sampled_from([None, None, "k-1", "K-1"]))
    return Event(event_id, run_id, name, draw(choose.sampled_from([b"1", b"1", b"2"])), key)


def event(pair: Pair) -> None:
    sent, command_id = _event(pair), _command(pair)
    operation = event_of(
        sent.run_id, sent.name, id=sent.id, value=sent.value, key=sent.key, command_id=command_id
    )
    pair.ask(
        operation,
        lambda: pair.oracle.once(
            command_id, ("SendEvent", sent.nameless), lambda: pair.oracle.send(sent)
        ),
    )


def events(pair: Pair) -> None:
    sent, command_id = [_event(pair) for _ in range(3)], _command(pair)
    operations = tuple(
        event_of(each.run_id, each.name, id=each.id, value=each.value, key=each.key)
        for each in sent
    )
    asked = ("SendEvents", [each.nameless for each in sent])
    pair.ask(
        SendEvents(events=operations, command_id=command_id),
        lambda: pair.oracle.once(command_id, asked, lambda: pair.oracle.send_many(sent)),
    )


# Operators


def cancel(pair: Pair) -> None:
    run_id = pair.some_run()
    known = [id for id, kept in pair.oracle.kept.items() if kept.asked[0] == "CancelRun"]
    again = bool(known) and pair.draw(choose.integers(0, 5)) == 0
    command_id = pair.draw(choose.sampled_from(known)) if again else pair.id()
    pair.ask(
        CancelRun(id=run_id, command_id=command_id),
        lambda: pair.oracle.once(
            command_id, ("CancelRun", run_id), lambda: pair.oracle.cancel(run_id, command_id)
        ),
    )


def terminate(pair: Pair) -> None:
    run_id, command_id = pair.some_run(), pair.id()
    pair.ask(
        TerminateRun(id=run_id, command_id=command_id),
        lambda: pair.oracle.once(
            command_id, ("TerminateRun", run_id), lambda: pair.oracle.terminate(run_id, command_id)
        ),
    )


def control(pair: Pair) -> None:
    """Pause, resume, redeliver, retry or waive: most often where it fits."""
    draw, runs = pair.draw, pair.oracle.runs.values()
    stuck = {run.status for run in runs} & {"diverged", "stalled"}
    fitting = [kind for kind, status in _FITTING.items() if status in stuck]
    all_kinds = ["pause", "pause", "resume", "resume", "resume", "redeliver", "retry", "waive"]
    kind = draw(choose.sampled_from(fitting if fitting and draw(choose.booleans()) else all_kinds))
    fit = [run.id for run in runs if run.status == _FITTING.get(kind)]
    run_id = draw(choose.sampled_from(fit)) if fit else pair.some_run()
    fields: dict[str, Any] = {"numbers": (1,)} if kind == "waive" else {}
    command_id = _command(pair)
    pair.ask(
        _CONTROLS[kind](id=run_id, command_id=command_id, **fields),
        lambda: pair.oracle.once(
            command_id, (kind, run_id), lambda: pair.oracle.control(kind, run_id, command_id)
        ),
    )


def rerun(pair: Pair) -> None:
    ended = [run.id for run in pair.oracle.runs.values() if not run.live]
    fits = bool(ended) and pair.draw(choose.integers(0, 5)) > 0
    run_id = pair.draw(choose.sampled_from(ended)) if fits else pair.some_run()
    command_id = pair.id()
    pair.ask(
        RerunRun(id=run_id, command_id=command_id),
        lambda: pair.oracle.once(
            command_id, ("RerunRun", run_id), lambda: pair.oracle.rerun(run_id)
        ),
    )


def _query(pair: Pair, statuses: tuple[str, ...]) -> tuple[RunQuery, Query]:
    draw, now = pair.draw, pair.oracle.now
    some = tuple(sorted(draw(choose.subset(statuses)))) if draw(choose.booleans()) else ()
    parents = [run.parent for run in pair.oracle.runs.values() if run.parent]
    query = Query(
        status=some,
        reference=draw(choose.sampled_from([None, None, None, "a", "b"])),
        parent=draw(choose.sampled_from([None, None, None, *parents[:1]])),
        after=draw(choose.sampled_from([None, None, now - 400])),
        before=draw(choose.sampled_from([None, None, now - 200])),
    )
    named = draw(choose.sampled_from([None, "orders"]))
    asked = RunQuery(
        workflow=named, status=some, reference_id=query.reference, parent_id=query.parent,
        created_after=query.after, created_before=query.before,
    )  # fmt: skip
    return asked, query


def cancel_many(pair: Pair) -> None:
    asked, query = _query(pair, ("queued", "running", "waiting", "paused", "completed"))
    limit, dry, command_id = _bulk(pair)
    pair.ask(
        CancelRuns(command_id=command_id, query=asked, limit=limit, dry_run=dry),
        lambda: pair.oracle.once(
            None if dry else command_id, ("CancelRuns", asked, limit),
            lambda: pair.oracle.cancel_many(query, limit, dry=dry),
        ),
    )  # fmt: skip


def rerun_many(pair: Pair) -> None:
    asked, query = _query(pair, (*ENDED, "queued"))
    limit, dry, command_id = _bulk(pair)
    pair.ask(
        RerunRuns(command_id=command_id, query=asked, limit=limit, dry_run=dry),
        lambda: pair.oracle.once(
            None if dry else command_id, ("RerunRuns", asked, limit),
            lambda: pair.oracle.rerun_many(query, limit, dry=dry),
        ),
    )  # fmt: skip


def _bulk(pair: Pair) -> tuple[int, bool, str]:
    return pair.draw(choose.integers(1, 3)), pair.draw(choose.integers(0, 3)) == 0, pair.id()


def choose_retention(pair: Pair) -> None:
    retention_ms: int | None = pair.draw(choose.sampled_from([None, None, 0, 600, 2_000]))
    command_id = _command(pair)

    def keep() -> int | None:
        pair.oracle.retention = retention_ms
        return retention_ms

    pair.ask(
        SetRetention(retention_ms=retention_ms, command_id=command_id),
        lambda: pair.oracle.once(command_id, ("SetRetention", retention_ms), keep),
    )


# Reads


def look(pair: Pair) -> None:
    """A page of a list, the backlog, the namespace."""
    draw = pair.draw
    asked, query = _query(pair, ("queued", "running", "waiting", "failed", "cancelled"))
    newest, limit = draw(choose.booleans()), draw(choose.integers(1, 4))
    known = sorted(pair.oracle.runs)
    cursor = draw(choose.sampled_from([None, known[len(known) // 2]])) if known else None
    pair.ask(
        ListRuns(query=asked, order="newest" if newest else "oldest", limit=limit, cursor=cursor),
        lambda: pair.oracle.page(query, limit, cursor, newest=newest),
    )
    pair.ask(GetBacklog(), pair.oracle.backlog)
    pair.ask(GetNamespace(), lambda: pair.oracle.retention)


# Workers


def register(pair: Pair, worker: str | None = None) -> None:
    worker = worker or pair.draw(choose.sampled_from(WORKERS))
    pair.ask(registration(worker, lease_ms=LEASE_MS), lambda: pair.oracle.register(worker))


def leave(pair: Pair) -> None:
    worker = pair.draw(choose.sampled_from(WORKERS))
    pair.ask(LeaveWorker(incarnation=worker), lambda: pair.oracle.leave(worker))


def presence(pair: Pair) -> None:
    """A streaming request opens or closes; news of it may come late, and in the wrong order."""
    worker, number = pair.draw(choose.sampled_from(WORKERS)), pair.draw(choose.integers(0, 3))
    known = pair.oracle.workers.get(worker)
    if known is not None and pair.draw(choose.booleans()):
        number = known.presence
    kind, expected = pair.draw(
        choose.sampled_from([(SeeWorker, pair.oracle.see), (SuspectWorker, pair.oracle.suspect)])
    )
    pair.ask(kind(incarnation=worker, presence=number), lambda: expected(worker, number))


def claim(pair: Pair) -> None:
    draw = pair.draw
    repeat = bool(pair.claim_ids) and draw(choose.integers(0, 5)) == 0
    fresh = (draw(choose.sampled_from(WORKERS)), pair.id())
    worker, claim_id = draw(choose.sampled_from(pair.claim_ids)) if repeat else fresh
    limit, idle = draw(choose.integers(1, 3)), draw(choose.integers(0, 3)) > 0
    pair.claim_ids.append((worker, claim_id))
    claims = pair.ask(
        claim_of(worker, claim_id=claim_id, limit=limit, idle=idle),
        lambda: pair.oracle.claim(worker, claim_id, limit, idle=idle),
    )
    if claims is not None:
        pair.claims += [(worker, run) for run in claims.runs]


def heartbeat(pair: Pair) -> None:
    draw = pair.draw
    worker = draw(choose.sampled_from(WORKERS))
    mine = [(run.id, run.epoch) for holder, run in pair.claims if holder == worker]
    held = [holding for holding in dict.fromkeys(mine) if draw(choose.integers(0, 4))]
    claiming = [claim_id for _, claim_id in pair.claim_ids if draw(choose.integers(0, 2)) == 0]
    holdings = tuple(Holding(*holding) for holding in held)
    pair.ask(
        Heartbeat(incarnation=worker, held=holdings, claiming=tuple(claiming)),
        lambda: pair.oracle.heartbeat(worker, held, claiming),
    )


# Time


def tick(pair: Pair) -> None:
    """Time passes, and the daemons look."""
    spans = [0, 1, 100, 250, 250, 500, 500, 900, LEASE_MS, LEASE_MS + 1]
    milliseconds = pair.draw(choose.sampled_from(spans))
    if pair.draw(choose.integers(0, 15)) == 0:
        milliseconds = STALL_MS
    ring = pair.draw(choose.sampled_from(pair.rings))
    pair.loop.run_until_complete(ring.pass_time(milliseconds))
    pair.oracle.now += milliseconds
    works = pair.draw(choose.subset(["wake", "recover", "stall", "retention", "forget"]))
    for name, work, wanted in (
        ("wake", wake_due, pair.oracle.wake_due),
        ("recover", recover, pair.oracle.recover),
        ("stall", stall, lambda: pair.oracle.stall(STALL_MS)),
        ("retention", retention, pair.oracle.retain),
        ("forget", forget, pair.oracle.forget),
    ):
        if name in works:
            pair.daemon(work, wanted)


def late_repeat(pair: Pair) -> None:
    """An operation of long ago arrives once more."""
    if pair.sent:
        pair.draw(choose.sampled_from(pair.sent))()
