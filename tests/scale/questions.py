"""What is asked of a server all day, and what people ask it: each must cost what it brings.

A question may leave things as it likes: it is asked at two sizes of the database, in the same
order, so that all but the number of finished runs is the same.
"""

from __future__ import annotations

from typing import Any

from aiki.engine.daemons import forget, recover, retention, stall, wake_due
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.model.task import Wait
from aiki.operations.bulk import CancelRuns, RerunRuns
from aiki.operations.catalog import (
    GetBacklog,
    GetChanges,
    GetNamespace,
    ListDeadLetters,
    ListWorkers,
    ListWorkflows,
)
from aiki.operations.runs import GetHistory, GetRun, ListRuns, RunQuery, StartRuns
from aiki.operations.work import Heartbeat, LeaveWorker, Listen, Parked, Report
from tests.engine.support import COMPLETE, Ring, entry, run_report, start_of
from tests.scale.fill import FIRST_INSTANT, id_of
from tests.scale.meters import Question


async def _work(ring: Ring, reference: str | None = None) -> None:
    """A worker takes ten runs, records something, and completes them."""
    worker = new_id()
    await ring.worker(worker)
    starts = tuple(start_of(reference_id=reference and new_id()) for _ in range(10))
    await ring.call(StartRuns(starts=starts))
    for run in await ring.claim(worker, limit=10):
        report = run_report(run, COMPLETE, entries=(entry(1),))
        await ring.call(Report(incarnation=worker, reports=(report,)))
    await ring.call(LeaveWorker(incarnation=worker))


async def _park_and_wake(ring: Ring) -> None:
    """A run parks, is sent an event, and is claimed again."""
    worker = new_id()
    await ring.worker(worker)
    run_id = await ring.start()
    (run,) = await ring.claim(worker, limit=1)
    await ring.report(run, Parked((Wait("event", "paid"),)), incarnation=worker)
    await ring.send(run_id, key="k")
    (run,) = await ring.claim(worker, limit=1)
    await ring.report(run, COMPLETE, incarnation=worker)


async def _stop(ring: Ring) -> None:
    run_id = await ring.start()
    await ring.cancel(run_id)


async def _heartbeat(ring: Ring) -> None:
    worker = new_id()
    await ring.worker(worker)
    await ring.call(Heartbeat(incarnation=worker, held=()))
    await ring.call(Listen(incarnation=worker))
    await ring.claim(worker)


async def _sleep(ring: Ring) -> None:
    """A timer that is due, and the next instant to sleep for."""
    await ring.start(delay_ms=1)
    await ring.pass_time(2)
    await wake_due(ring.engine)
    await ring.store.read(lambda tx: tx.next_wake())


async def _changes(ring: Ring) -> None:
    now = await ring.now()
    await ring.start()
    await ring.call(GetChanges(cursor=now))


def _list(order: Any = "newest", **filters: Any) -> Question:
    async def ask(ring: Ring) -> None:
        await ring.call(ListRuns(query=RunQuery(**filters), order=order, limit=20))

    return ask


def _call(operation: Any) -> Question:
    return lambda ring: ring.call(operation)


def _elsewhere(operation: Any) -> Question:
    """Asked by a namespace that has nothing."""

    async def ask(ring: Ring) -> None:
        await ring.engine.session(Principal(namespace="empty")).call(operation)

    return ask


def _bulk(kind: Any, **filters: Any) -> Question:
    async def ask(ring: Ring) -> None:
        query = RunQuery(**filters)
        await ring.call(kind(command_id=new_id(), query=query, limit=10, dry_run=True))

    return ask


BY_READY: dict[str, Question] = {
    "stall": lambda ring: stall(ring.engine),
    "backlog": _call(GetBacklog()),
}
"""These look at all that is ready, now and then; but at nothing that has finished."""
QUESTIONS: dict[str, Question] = {
    "start, claim, report and complete": _work,
    "the same with reference ids": lambda ring: _work(ring, "named"),
    "park, event, wake": _park_and_wake,
    "start and cancel": _stop,
    "register, heartbeat, listen, claim in vain": _heartbeat,
    "sleep and wake": _sleep,
    "recover": lambda ring: recover(ring.engine),
    "retention": lambda ring: retention(ring.engine),
    "forget": lambda ring: forget(ring.engine),
    "changes": _changes,
    "workers": _call(ListWorkers()),
    "workflows": _call(ListWorkflows()),
    "namespace": _call(GetNamespace()),
    "dead letters": _call(ListDeadLetters()),
    "one run": _call(GetRun(id=id_of(40))),
    "its history": _call(GetHistory(id=id_of(40))),
    "an empty namespace": _elsewhere(ListRuns()),
    "letters of an empty namespace": _elsewhere(ListDeadLetters()),
    "cancel what matches": _bulk(CancelRuns),
    "rerun what matches": _bulk(RerunRuns, status=("failed",)),
}
LISTS: dict[str, dict[str, Any]] = {
    "all": {},
    "a workflow": {"workflow": "orders"},
    "a rare workflow": {"workflow": "rare"},
    "no such workflow": {"workflow": "nothing"},
    "failed": {"status": ("failed",)},
    "open": {"status": ("queued", "running")},
    "failed of a workflow": {"status": ("failed",), "workflow": "orders"},
    "completed of a rare workflow": {"status": ("completed",), "workflow": "rare"},
    "a reference of a workflow": {"reference_id": id_of(40), "workflow": "orders"},
    "no such reference of a workflow": {"reference_id": "nothing", "workflow": "orders"},
    "children": {"parent_id": id_of(21).replace("01", "02", 1)},
    "no such parent": {"parent_id": "nothing"},
    "a rare version of a workflow": {"version": "0.9", "workflow": "rare"},
}
"""An index leads to what these ask for."""
SIEVES: dict[str, dict[str, Any]] = {
    "completed": {"status": ("completed",)},
    "waiting": {"status": ("sleeping",)},
    "open of a workflow": {"status": ("queued",), "workflow": "orders"},
    "failed of a rare workflow": {"status": ("failed",), "workflow": "rare"},
    "a reference": {"reference_id": id_of(40)},
    "a rare version": {"version": "0.9"},
    "no such version of a workflow": {"version": "nothing", "workflow": "orders"},
    "a shard": {"shard": "far"},
    "no such shard of a workflow": {"shard": "nothing", "workflow": "orders"},
    "created long ago": {"created_before": FIRST_INSTANT + 500},
    "created just now": {"created_after": FIRST_INSTANT * 2},
    "created between": {
        "created_after": FIRST_INSTANT + 300, "created_before": FIRST_INSTANT + 500,
    },
}  # fmt: skip
"""These pass over what an index brings and another filter does not want, until the page is full: a
question of people, who see it take longer. Nothing that Aiki itself asks is among them."""
ORDERS = ("newest", "oldest")
QUESTIONS |= {
    f"list {name}, {order} first": _list(order, **filters)
    for name, filters in LISTS.items()
    for order in ORDERS
}
SIEVED: dict[str, Question] = {
    f"list {name}, {order} first": _list(order, **filters)
    for name, filters in SIEVES.items()
    for order in ORDERS
}
