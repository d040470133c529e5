"""Dead letters of brokers: messages that no worker understands, and messages that were forged."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiki.engine.batch import Batch
from aiki.engine.bulk import rerun
from aiki.engine.controls import own_run
from aiki.errors import InvalidRequest, InvalidTransition, NotFound
from aiki.ids import derived_id, new_id
from aiki.machine import Redeliver
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import Run
from aiki.model.worker import DeadLetter
from aiki.operations.catalog import RedriveDeadLetter, Redriven
from aiki.operations.work import ClaimRuns, Hint, RefusedMessage, RefuseMessages

MALFORMED = "malformed_message"
FORGED = "forged_message"
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNKEPT = re.compile("[\0\ud800-\udfff]")
"""Characters that not every database keeps."""
_LONGEST = 2_000
"""Characters of a message that are kept."""


async def prepare_refusals(operation: RefuseMessages, principal: Principal, batch: Batch) -> None:
    """Keep those that this worker has not reported before."""
    if len(operation.messages) > limits.BULK_ITEMS:
        raise InvalidRequest(f"{len(operation.messages)} messages: up to {limits.BULK_ITEMS}")
    now = await batch.tx.now()
    letters = [
        _letter(
            _id(operation.incarnation, "refused", message.queue, message.entry),
            principal,
            MALFORMED,
            now,
            _describe(message),
        )
        for message in operation.messages
    ]
    await keep(letters, batch)


def apply_refusals(operation: RefuseMessages, principal: Principal, batch: Batch) -> int:
    """All of them are kept now."""
    return len(operation.messages)


async def keep_forged(
    unknown: Sequence[Hint], operation: ClaimRuns, principal: Principal, batch: Batch
) -> None:
    """Keep what a broker announced and does not exist."""
    letters = [
        _letter(
            _id(operation.incarnation, "forged", hint.run_id),
            principal,
            FORGED,
            batch.now,
            f"run {hint.run_id} does not exist in the queue of {hint.workflow} {hint.version}"
            + (f", shard {hint.shard}" if hint.shard else ""),
        )
        for hint in unknown
    ]
    await keep(letters, batch)


async def keep(letters: Sequence[DeadLetter], batch: Batch) -> None:
    """Save those of them that are not known yet."""
    unique = {letter.id: letter for letter in letters}
    for known in await batch.tx.load_dead_letters(list(unique)):
        del unique[known.id]
    if unique:
        await batch.tx.insert_dead_letters(list(unique.values()))


async def prepare_redrive(operation: RedriveDeadLetter, principal: Principal, batch: Batch) -> None:
    """Read the letter, and name the run that it is about."""
    for letter in await batch.tx.load_dead_letters([operation.id]):
        batch.letters[letter.id] = letter
        run_id = _run_of(letter)
        if run_id is not None:
            batch.names.runs |= {run_id, _anew(letter)}
            batch.originals.update(await batch.tx.load_payloads([run_id], "input"))


def apply_redrive(operation: RedriveDeadLetter, principal: Principal, batch: Batch) -> Redriven:
    """Start or announce that run, and forget the letter."""
    letter = batch.letters.get(operation.id)
    if letter is None or letter.namespace != principal.namespace:
        raise NotFound(f"no dead letter {operation.id} in namespace {principal.namespace}")
    run_id = _run_of(letter)
    if run_id is None:
        raise InvalidTransition(
            f"dead letter {letter.id} names no run: there is nothing to deliver ({letter.detail})"
        )
    run = own_run(run_id, principal, batch)
    if letter.run_id is not None:
        redriven = _deliver(letter, run, batch)
    elif run.state.status == "queued":
        batch.again.add(run.id)
        redriven = Redriven(run.id, "announced")
    else:
        raise InvalidTransition(
            f"run {run.id} is {run.state.status}: only what is queued is announced"
        )
    batch.drop_dead_letter(letter)
    batch.add_audit(principal, "RedriveDeadLetter", letter.id, redriven.run_id)
    return redriven


def _deliver(letter: DeadLetter, run: Run, batch: Batch) -> Redriven:
    """The run that was set aside."""
    if run.state.status == "stalled":
        batch.move(run, Redeliver())
        batch.drop_letters_of(run)
        return Redriven(run.id, "announced")
    if run.state.status != "failed":
        raise InvalidTransition(
            f"run {run.id} is {run.state.status}: only what is stalled, or has failed, is delivered"
        )
    new = _anew(letter)
    return Redriven(new if new in batch.runs else rerun(run, batch, new), "started")


def _anew(letter: DeadLetter) -> str:
    """The run that a letter starts: two servers that are asked at once start the same."""
    return derived_id(letter.id, "redriven")


def _run_of(letter: DeadLetter) -> str | None:
    """The run that it is about, as far as a message names one: its content comes last."""
    named = _RUN_ID.findall(letter.detail)
    return letter.run_id or (named[-1] if named else None)


def _id(incarnation: str, *parts: str) -> str:
    """The same for whatever the same worker reports again, about as old as the worker."""
    try:
        return derived_id(incarnation, *parts)
    except ValueError:
        return new_id()


def _letter(letter_id: str, principal: Principal, reason: str, now: int, detail: str) -> DeadLetter:
    return DeadLetter(
        id=letter_id,
        namespace=principal.namespace,
        run_id=None,
        reason=reason,
        at=now,
        detail=detail[:_LONGEST],
    )


def _describe(message: RefusedMessage) -> str:
    text = f"{message.queue} {message.entry}: {message.reason}; {message.content}"
    return _UNKEPT.sub("\N{REPLACEMENT CHARACTER}", text)
