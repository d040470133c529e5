"""Events: sent by clients and by other runs, kept in the inbox until a wait takes them."""

from __future__ import annotations

from aiki.engine.batch import Batch
from aiki.engine.controls import own_run
from aiki.engine.starts import check_payload, check_text, is_text
from aiki.errors import Conflict, InvalidRequest, InvalidTransition, LimitExceeded
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import TERMINAL, Run
from aiki.model.task import Fact
from aiki.operations.runs import SendEvent
from aiki.operations.work import EventSend
from aiki.store.records import EventKey


def name_event(event: SendEvent | EventSend, batch: Batch) -> None:
    """Name the run, what it waits for, and the event by id and by key."""
    names = batch.names
    names.runs.add(event.run_id)
    names.waits.add(event.run_id)
    if not is_text(event.id + event.name + (event.key or "")):
        return
    names.facts.add(event.id)
    if event.key is not None:
        names.event_keys.add(EventKey(event.run_id, event.name, event.key))


async def prepare_event(operation: SendEvent, principal: Principal, batch: Batch) -> None:
    """Name what the event touches."""
    name_event(operation, batch)


def apply_event(
    operation: SendEvent, principal: Principal, batch: Batch, *, audited: bool = True
) -> str:
    """Put the event into the inbox, unless it is there already."""
    run = own_run(operation.run_id, principal, batch)
    check_event(operation)
    known = _known(operation, batch)
    if known is not None:
        return known
    if run.state.status in TERMINAL:
        raise InvalidTransition(
            f"run {run.id} is {run.state.status}: nobody will take event {operation.name!r}"
        )
    put_event(operation, run, batch)
    if audited:
        batch.add_audit(principal, "SendEvent", run.id, operation.name)
    return operation.id


def check_event(event: SendEvent | EventSend) -> None:
    """Raise for an event that could not be kept."""
    if not event.name or len(event.name) > limits.NAME_LENGTH:
        raise InvalidRequest(f"an event's name has 1 to {limits.NAME_LENGTH} characters")
    for what, text in (("id", event.id), ("name", event.name), ("key", event.key or "")):
        check_text(f"event's {what}", text)
    if event.key is not None and len(event.key) > limits.NAME_LENGTH:
        raise LimitExceeded(f"an event's key has at most {limits.NAME_LENGTH} characters")
    check_payload(f"payload of event {event.name!r}", event.value)


def _known(event: SendEvent, batch: Batch) -> str | None:
    known = batch.facts.get(event.id)
    if known is None and event.key is not None:
        known = batch.event_keys.get(EventKey(event.run_id, event.name, event.key))
    if known is None:
        return None
    if (known.run_id, known.name, known.value) != (event.run_id, event.name, event.value):
        raise Conflict(
            f"event {event.name!r} with key {event.key!r} was sent before with another payload"
        )
    return known.id


def put_event(event: SendEvent | EventSend, run: Run, batch: Batch) -> None:
    """The event as a fact in the run's inbox."""
    fact = Fact(event.id, run.id, "event", event.name, batch.now, value=event.value, key=event.key)
    batch.add_fact(run, fact)


def pass_event(event: EventSend, sender: Run, batch: Batch) -> None:
    """An event from a run to another of its namespace; a run that ended takes none."""
    run = batch.runs.get(event.run_id)
    if run is None or run.namespace != sender.namespace or run.state.status in TERMINAL:
        return
    key = EventKey(event.run_id, event.name, event.key) if event.key is not None else None
    if event.id not in batch.facts and (key is None or key not in batch.event_keys):
        put_event(event, run, batch)
