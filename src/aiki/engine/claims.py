"""Claims: ready runs handed to workers, with all that they need to go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from aiki.engine.batch import Batch
from aiki.engine.letters import keep_forged
from aiki.engine.views import options_of
from aiki.errors import ClaimLost, InvalidRequest, NotFound
from aiki.machine import Claim, is_alone
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import Run
from aiki.model.task import Entry, Fact
from aiki.operations.work import ClaimedRun, ClaimRuns, Claims, LoadMemo, Memo
from aiki.store.protocol import Transaction
from aiki.store.records import RunAttempt

PAGE_BYTES = 1024 * 1024
CLAIM_BYTES = 32 * 1024 * 1024
"""Inputs and records that one claim brings along."""
_PAGE_ENTRIES = 2_000


def check_claim(operation: ClaimRuns) -> None:
    """Raise for a claim that could never be answered."""
    if operation.limit < 1 or operation.limit > limits.BULK_ITEMS:
        raise InvalidRequest(f"limit={operation.limit}: from 1 to {limits.BULK_ITEMS}")
    if not operation.offers:
        raise InvalidRequest("a claim offers no workflow: nothing could be given")
    if operation.hints and operation.wait_ms > 0:
        raise InvalidRequest("a claim with hints does not wait: the broker has waited already")
    if len(operation.hints) > limits.BULK_ITEMS:
        raise InvalidRequest(f"{len(operation.hints)} hints: up to {limits.BULK_ITEMS}")


async def has_work(operation: ClaimRuns, principal: Principal, tx: Transaction) -> bool:
    """Whether a claim would find anything now, or change anything.

    What was granted before under its id is found, and a lease that is over is renewed.
    """
    if operation.incarnation not in await tx.alive_workers():
        return True
    if await tx.claimed_by(principal.namespace, operation.incarnation, operation.claim_id):
        return True
    if await tx.any_alone(principal.namespace, operation.offers, operation.shards):
        return True
    return bool(await _pick(operation, principal, tx, alone_waiting=False))


async def serve_claim(operation: ClaimRuns, principal: Principal, batch: Batch) -> Claims:
    """Grant ready runs, within the batch's transaction and after its other decisions are saved."""
    tx = batch.tx
    if (principal.namespace, operation.incarnation) in batch.left:
        return Claims(now=batch.now)
    opening = await tx.open_claim(
        principal.namespace,
        operation.incarnation,
        operation.claim_id,
        operation.offers,
        operation.shards,
    )
    if opening is None:
        # Whoever was thought lost meanwhile registers again; the dead do not.
        raise NotFound(f"worker {operation.incarnation} is not registered: register it again")
    batch.now = batch.now or opening.now
    if opening.granted:
        runs, before = await tx.load_runs(opening.granted), Before(set(), set())
        brought = await _belongings(tx, runs, before)
        granted = await _granted(tx, runs, before, brought, repeated=True)
        return Claims(runs=granted, now=batch.now)
    alone_waiting = opening.alone_waiting
    ids = await _pick(operation, principal, tx, alone_waiting=alone_waiting)
    unknown = await _unknown(operation, set(ids), principal, batch) if operation.hints else ()
    if not ids:
        return Claims(now=batch.now, alone_waiting=alone_waiting, unknown=unknown)
    runs, before = await _take(ids, operation, batch)
    # Read before anything is saved: the claims then travel with the transaction's last statement.
    brought = await _belongings(tx, runs, before)
    await _save(runs, batch)
    granted = await _granted(tx, runs, before, brought)
    return Claims(runs=granted, now=batch.now, unknown=unknown)


def grant_newborn(operation: ClaimRuns, principal: Principal, batch: Batch) -> Claims | None:
    """Give a waiting claim runs that begin in this very batch, before they are even saved.

    The claim waits because nothing older was there for it; so nothing is overtaken, and the run
    needs no outbox row, no second look at the database and no transaction of its own.
    """
    shards = operation.shards or ("",)
    fingerprints = {(o.workflow, o.version): o.fingerprint for o in operation.offers}
    granted: list[ClaimedRun] = []
    for run in batch.newborn_ready():
        fingerprint = fingerprints.get((run.workflow, run.version))
        if fingerprint is None or run.shard not in shards or run.namespace != principal.namespace:
            continue
        command = Claim(operation.incarnation, operation.claim_id, fingerprint)
        claimed = _claimed(
            batch.move(run, command),
            input=batch.inputs[run.id],
            memo=Memo(),
            inbox=tuple(batch.inboxes.get(run.id, ())),
            memo_version=0,
        )
        granted.append(claimed)
        if len(granted) == operation.limit:
            break
    return Claims(runs=tuple(granted), now=batch.now) if granted else None


async def _pick(
    operation: ClaimRuns, principal: Principal, tx: Transaction, *, alone_waiting: bool
) -> list[str]:
    """Ready runs for this worker; while one waits that needs a worker for itself, that alone."""
    queues = (principal.namespace, operation.offers, operation.shards)
    if alone_waiting:
        return await tx.pick_ready(*queues, 1, alone=True) if operation.idle else []
    if operation.hints:
        return await _pick_hinted(operation, principal, tx)
    return await tx.pick_ready(*queues, operation.limit)


async def _pick_hinted(operation: ClaimRuns, principal: Principal, tx: Transaction) -> list[str]:
    """Of each queue that the hints name, as many ready runs as there are hints.

    A hint says that one more run is worth asking for; the best of its queue is given, so that
    priorities hold although a broker delivers in the order of publication.
    """
    offers = {(offer.workflow, offer.version): offer for offer in operation.offers}
    shards = operation.shards or ("",)
    counted = Counter((hint.workflow, hint.version, hint.shard) for hint in operation.hints)
    ids: list[str] = []
    for (workflow, version, shard), count in counted.items():
        offer = offers.get((workflow, version))
        room = min(count, operation.limit - len(ids))
        if offer is not None and shard in shards and room > 0:
            ids += await tx.pick_ready(principal.namespace, (offer,), (shard,), room)
    return ids


async def _unknown(
    operation: ClaimRuns, picked: set[str], principal: Principal, batch: Batch
) -> tuple[str, ...]:
    """Runs that were announced and are not in the queue that announced them."""
    absent = {hint.run_id: hint for hint in operation.hints if hint.run_id not in picked}
    for run in await batch.tx.peek_runs(sorted(absent)) if absent else ():
        hint = absent[run.id]
        queue = (run.namespace, run.workflow, run.version, run.shard)
        if queue == (principal.namespace, hint.workflow, hint.version, hint.shard):
            del absent[run.id]
    if absent:
        await keep_forged(list(absent.values()), operation, principal, batch)
    return tuple(absent)


class Before(NamedTuple):
    """What runs were before they were claimed."""

    resident: set[str]
    """The claiming worker held it last, and may still have it in memory."""
    rested: set[str]
    """The last claim ended in order, at rest."""

    def note(self, run: Run, incarnation: str) -> None:
        """Remember what the claim is about to change."""
        state = run.state
        if state.epoch == 0 or state.retry_pending:
            return
        if state.holder == incarnation:
            self.resident.add(run.id)
        if state.losses == 0:
            self.rested.add(run.id)


async def _take(ids: Sequence[str], operation: ClaimRuns, batch: Batch) -> tuple[list[Run], Before]:
    fingerprints = {(o.workflow, o.version): o.fingerprint for o in operation.offers}
    taken: list[Run] = []
    before = Before(set(), set())
    for run in await batch.tx.load_runs(ids):
        before.note(run, operation.incarnation)
        fingerprint = fingerprints.get((run.workflow, run.version))
        command = Claim(operation.incarnation, operation.claim_id, fingerprint)
        taken.append(batch.move(run, command))
    order = {run_id: place for place, run_id in enumerate(ids)}
    taken.sort(key=lambda run: order[run.id])
    return taken, before


class Belongings(NamedTuple):
    """What claimed runs were started with, and were told."""

    inputs: dict[str, bytes]
    inboxes: dict[str, list[Fact]]


async def _belongings(tx: Transaction, runs: Sequence[Run], before: Before) -> Belongings:
    absent = [run.id for run in runs if run.id not in before.resident]
    inputs = await tx.load_payloads(absent, "input") if absent else {}
    return Belongings(inputs, await tx.load_facts([run.id for run in runs]))


async def _save(taken: Sequence[Run], batch: Batch) -> None:
    """Save the claims; what whoever had these runs before has begun is lost."""
    again = [run.id for run in taken if run.state.epoch > 1]
    if again:
        await batch.tx.close_attempts(again, "lost", batch.now)
    await batch.flush()


async def _granted(
    tx: Transaction,
    runs: Sequence[Run],
    before: Before,
    brought: Belongings,
    *,
    repeated: bool = False,
) -> tuple[ClaimedRun, ...]:
    """What is handed over; only a run's very first claim is known to have no memo."""
    resident, inputs = before.resident, brought.inputs
    known = [(run.id, run.state.attempt) for run in runs if repeated or run.state.epoch > 1]
    memos = await _memos(tx, [of for of in known if of[0] not in resident])
    versions = await _memo_versions(tx, known) if known else {}
    empty = Memo()
    _leave_to_load(inputs, memos, resident)
    return tuple(
        _claimed(
            run,
            input=inputs.get(run.id),
            memo=None if run.id in resident else memos.get(run.id, empty),
            inbox=tuple(brought.inboxes.get(run.id, ())),
            memo_version=versions.get(run.id, 0),
            rested=run.id in before.rested,
        )
        for run in runs
    )


def _leave_to_load(inputs: dict[str, bytes], memos: dict[str, Memo], resident: set[str]) -> None:
    """What would make the answer too large is left out: the worker loads it, run by run."""
    size = 0
    for run_id in list(inputs):
        entries = memos[run_id].entries if run_id in memos else ()
        size += len(inputs[run_id]) + sum(len(entry.value or b"") for entry in entries)
        if size > CLAIM_BYTES:
            del inputs[run_id]
            resident.add(run_id)


def _claimed(run: Run, **details: object) -> ClaimedRun:
    state = run.state
    return ClaimedRun(
        id=run.id,
        namespace=run.namespace,
        workflow=run.workflow,
        version=run.version,
        attempt=state.attempt,
        epoch=state.epoch,
        started_at=state.started_at or 0,
        reference_id=run.reference_id,
        parent_id=run.parent_id,
        shard=run.shard,
        options=options_of(run),
        stop_cause=state.stop_cause,
        alone=is_alone(state),
        **details,  # type: ignore[arg-type]
    )


async def _memo_versions(tx: Transaction, of: Sequence[RunAttempt]) -> dict[str, int]:
    numbers = await tx.last_numbers(of)
    decisions = await tx.load_decisions(of)
    return {run_id: numbers.get(run_id, 0) + len(decisions.get(run_id, ())) for run_id, _ in of}


async def _memos(tx: Transaction, of: Sequence[RunAttempt]) -> dict[str, Memo]:
    """The first page of each memo. Most are one page, and those are read together."""
    if not of:
        return {}
    numbers = await tx.last_numbers(of)
    short = [pair for pair in of if numbers.get(pair[0], 0) <= _PAGE_ENTRIES]
    entries = await tx.load_entries(short) if short else {}
    for run_id, attempt in of:
        if run_id not in entries and numbers.get(run_id, 0) > _PAGE_ENTRIES:
            entries[run_id] = await tx.load_entry_page(run_id, attempt, 1, _PAGE_ENTRIES)
    attempts = await tx.load_attempts(of)
    children = await tx.load_children(of)
    decisions = await tx.load_decisions(of)
    memos: dict[str, Memo] = {}
    for run_id, _ in of:
        page, next_number = _page(entries.get(run_id, []), numbers.get(run_id, 0))
        memos[run_id] = Memo(
            page,
            tuple(attempts.get(run_id, ())),
            tuple(children.get(run_id, ())),
            tuple(decisions.get(run_id, ())),
            next_number,
        )
    return memos


def _page(entries: Sequence[Entry], last_number: int) -> tuple[tuple[Entry, ...], int | None]:
    """Entries up to the page's size, at least one, and where the next page begins."""
    size = 0
    for place, entry in enumerate(entries):
        size += len(entry.value or b"") + 200
        if size > PAGE_BYTES and place:
            return tuple(entries[:place]), entry.number
    reached = entries[-1].number if entries else last_number
    return tuple(entries), reached + 1 if reached < last_number else None


async def load_memo(operation: LoadMemo, principal: Principal, tx: Transaction) -> ClaimedRun:
    """A claimed run again, with one page of its memo."""
    found = await tx.load_runs([operation.run_id])
    run = found[0] if found else None
    if run is None or run.namespace != principal.namespace or run.state.epoch != operation.epoch:
        raise ClaimLost(f"the claim on run {operation.run_id} is over")
    of = [(run.id, run.state.attempt)]
    if operation.from_number == 1:
        memo = (await _memos(tx, of)).get(run.id, Memo())
    else:
        memo = await _next_page(tx, of[0], operation.from_number)
    versions = await _memo_versions(tx, of)
    inbox = await tx.load_facts([run.id])
    inputs = await tx.load_payloads([run.id], "input")
    return _claimed(
        run,
        input=inputs.get(run.id),
        memo=memo,
        memo_version=versions[run.id],
        inbox=tuple(inbox.get(run.id, ())),
    )


async def _next_page(tx: Transaction, of: RunAttempt, from_number: int) -> Memo:
    numbers = await tx.last_numbers([of])
    entries = await tx.load_entry_page(*of, from_number, _PAGE_ENTRIES)
    page, next_number = _page(entries, numbers.get(of[0], 0))
    return Memo(entries=page, next_number=next_number)
