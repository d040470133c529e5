"""Decisions: what a command makes of a run's state, with every legal transition in one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from aiki.clock import Instant
from aiki.errors import ClaimLost, InvalidTransition
from aiki.machine.commands import (
    Admit,
    Claim,
    Command,
    Complete,
    Diverge,
    Due,
    EndGrace,
    Fail,
    Park,
    Pause,
    Reconsider,
    Record,
    Recover,
    Redeliver,
    Release,
    RequestStop,
    Resume,
    RetryRun,
    Stall,
    Terminate,
    Untangle,
    Wake,
)
from aiki.model.run import TERMINAL, RunState, Status

ALONE_AFTER_LOSSES = 2
"""From this many losses without progress on, a run is executed with nothing beside it."""

DEAD_LETTER_AFTER = 3
"""Losses while alone that make a dead letter."""

_replace = msgspec.structs.replace


class Decided(NamedTuple):
    """The next state; `reason` is None where there is no transition."""

    state: RunState
    reason: str | None


_LIVE: tuple[Status, ...] = (
    "awaiting_turn",
    "scheduled",
    "queued",
    "running",
    "waiting",
    "paused",
    "diverged",
    "stalled",
)
_WAKES = ("event", "child", "timer", "retry", "stop")
_Ends = set[tuple[Status, str | None]]
_KILLED: _Ends = {("cancelled", "terminated")}
_UNSTARTED: _Ends = {("cancelled", "cancelled"), ("failed", "timeout")}
_FORCED: tuple[Status, str | None] = ("cancelled", "forced")

LEGAL: dict[type[Command], dict[Status, set[tuple[Status, str | None]]]] = {
    Due: {"scheduled": {("queued", "new")}},
    Admit: {"awaiting_turn": {("queued", "admitted"), ("scheduled", "admitted")}},
    Untangle: {"awaiting_turn": {("failed", "deadlock")}},
    Claim: {"queued": {("running", "claimed")}},
    Record: {"running": {("running", None)}},
    Park: {"running": {("waiting", "parked"), ("queued", "woken"), ("paused", "paused")}},
    Complete: {"running": {("completed", "returned")}},
    Fail: {"running": {("failed", "raised"), ("cancelled", "cancelled"), ("failed", "timeout")}},
    RetryRun: {"running": {("waiting", "retry")}},
    Release: {"running": {("queued", "released"), ("paused", "paused")}},
    Diverge: {"running": {("diverged", "diverged")}},
    Recover: {"running": {("queued", "recovered"), ("failed", "dead_letter")}},
    Wake: {"waiting": {("queued", reason) for reason in _WAKES}},
    Pause: {
        "awaiting_turn": {("paused", "paused")},
        "scheduled": {("paused", "paused")},
        "queued": {("paused", "paused")},
        "waiting": {("paused", "paused")},
        "running": {("running", None)},
        "paused": {("paused", None)},
    },
    Resume: {
        "paused": {
            ("awaiting_turn", "resumed"),
            ("scheduled", "resumed"),
            ("queued", "resumed"),
            ("waiting", "resumed"),
        },
        "running": {("running", None)},
    },
    RequestStop: {
        "awaiting_turn": _UNSTARTED,
        "scheduled": _UNSTARTED,
        "queued": {*_UNSTARTED, ("queued", None), _FORCED},
        "running": {("running", None), _FORCED},
        "waiting": {("queued", "stop"), ("waiting", None), _FORCED},
        "paused": {*_UNSTARTED, ("queued", "stop"), ("paused", None), _FORCED},
        "diverged": {("diverged", None), _FORCED},
        "stalled": {*_UNSTARTED, ("queued", "stop"), ("stalled", None), _FORCED},
    },
    Terminate: {status: _KILLED for status in _LIVE},
    EndGrace: {status: {("cancelled", "grace_over"), ("failed", "timeout")} for status in _LIVE},
    Stall: {"queued": {("stalled", "undeliverable")}},
    Redeliver: {"stalled": {("queued", "redelivered")}},
    Reconsider: {"diverged": {("queued", "fingerprint"), ("queued", "decision")}},
}


def decide(state: RunState, command: Command, now: Instant) -> Decided:
    """The state after this command at this instant.

    Raises `InvalidTransition` where the table has no row, and `ClaimLost` for a stale epoch.
    """
    kind = type(command)
    legal = LEGAL[kind].get(state.status)
    epoch = getattr(command, "epoch", None)
    if epoch is not None and (legal is None or epoch != state.epoch):
        raise ClaimLost(f"epoch {epoch} is over: the run is {state.status}, epoch {state.epoch}")
    if legal is None:
        raise InvalidTransition(f"a {state.status} run cannot {_verb(kind)}")
    decided = _DECIDE[kind](state, command, now)
    if (decided.state.status, decided.reason) not in legal:
        raise InvalidTransition(
            f"{state.status} -> {decided.state.status} ({decided.reason}) is not in the table"
        )
    return decided


def _verb(kind: type) -> str:
    words = {
        "RequestStop": "be cancelled",
        "EndGrace": "end its grace",
        "Due": "become due",
        "Admit": "be admitted",
        "Untangle": "be untangled",
    }
    verbs = {"Claim": "be claimed", "Recover": "be recovered", "Terminate": "be terminated"}
    return words.get(kind.__name__) or verbs.get(kind.__name__) or kind.__name__.lower()


def _move(state: RunState, status: Status, reason: str, **changes: Any) -> Decided:
    return Decided(_replace(state, status=status, revision=state.revision + 1, **changes), reason)


def _end(state: RunState, status: Status, reason: str, now: Instant, **changes: Any) -> Decided:
    return _move(
        state,
        status,
        reason,
        ended_at=now,
        due_at=None,
        deadline_at=None,
        grace_until=None,
        pause_requested=False,
        **changes,
    )


def _kill(state: RunState, status: Status, reason: str, now: Instant) -> Decided:
    """End from outside: a new epoch fences whoever still executes it."""
    return _end(state, status, reason, now, epoch=state.epoch + 1)


def _due(state: RunState, _: Due, now: Instant) -> Decided:
    if state.due_at is not None and state.due_at > now:
        raise InvalidTransition("the run is not due yet")
    return _move(state, "queued", "new", due_at=None)


def _admit(state: RunState, _: Admit, now: Instant) -> Decided:
    """A run that is delayed for longer keeps its place: those behind it wait for it."""
    if state.due_at is not None and state.due_at > now:
        return _move(state, "scheduled", "admitted")
    return _move(state, "queued", "admitted", due_at=None)


def _untangle(state: RunState, _: Untangle, now: Instant) -> Decided:
    return _kill(state, "failed", "deadlock", now)


def _claim(state: RunState, command: Claim, now: Instant) -> Decided:
    started = state.started_at if state.started_at is not None else now
    changes: dict[str, Any] = {}
    if state.retry_pending:
        changes = {"attempt": state.attempt + 1, "retry_pending": False}
    return _move(
        state,
        "running",
        "claimed",
        epoch=state.epoch + 1,
        holder=command.worker,
        claim_id=command.claim_id,
        started_at=started,
        fingerprint=command.fingerprint,
        due_at=None,
        **changes,
    )


def _record(state: RunState, command: Record, now: Instant) -> Decided:
    if command.stop_delivered:
        grace = state.grace_until if state.grace_until is not None else now + command.grace_ms
        state = _replace(state, stop_delivered=True, grace_until=grace)
    if state.losses or state.alone_losses:
        state = _replace(state, losses=0, alone_losses=0)
    return Decided(state, None)


def _settle(state: RunState, command: Park | RetryRun | Release) -> dict[str, Any]:
    """A claim that ends in order clears the losses."""
    return {"losses": 0, "alone_losses": 0, "command_id": command.command_id}


def _park(state: RunState, command: Park, now: Instant) -> Decided:
    changes = _settle(state, command)
    if state.pause_requested:
        return _move(
            state, "paused", "paused", due_at=command.due_at, pause_requested=False, **changes
        )
    if command.ready or (command.due_at is not None and command.due_at <= now):
        return _move(state, "queued", "woken", due_at=None, **changes)
    return _move(state, "waiting", "parked", due_at=command.due_at, **changes)


def _complete(state: RunState, command: Complete, now: Instant) -> Decided:
    return _end(state, "completed", "returned", now, command_id=command.command_id)


def _fail(state: RunState, command: Fail, now: Instant) -> Decided:
    if not state.stop_delivered:
        return _end(state, "failed", "raised", now, command_id=command.command_id)
    status, reason = _stopped(state)
    return _end(state, status, reason, now, command_id=command.command_id)


def _stopped(state: RunState, reason: str = "cancelled") -> tuple[Status, str]:
    return ("failed", "timeout") if state.stop_cause == "timeout" else ("cancelled", reason)


def _retry_run(state: RunState, command: RetryRun, now: Instant) -> Decided:
    return _move(
        state,
        "waiting",
        "retry",
        due_at=command.due_at,
        retry_pending=True,
        **_settle(state, command),
    )


def _release(state: RunState, command: Release, now: Instant) -> Decided:
    if state.pause_requested:
        return _move(state, "paused", "paused", pause_requested=False, **_settle(state, command))
    return _move(state, "queued", "released", **_settle(state, command))


def _diverge(state: RunState, command: Diverge, now: Instant) -> Decided:
    return _move(
        state, "diverged", "diverged", command_id=command.command_id, pause_requested=False
    )


def _recover(state: RunState, _: Recover, now: Instant) -> Decided:
    """A loss counts towards the dead letter only while the run had its worker for itself."""
    alone = state.losses >= ALONE_AFTER_LOSSES
    alone_losses = state.alone_losses + 1 if alone else 0
    losses = {"losses": state.losses + 1, "alone_losses": alone_losses}
    if alone_losses >= DEAD_LETTER_AFTER:
        return _end(state, "failed", "dead_letter", now, epoch=state.epoch + 1, **losses)
    return _move(state, "queued", "recovered", **losses)


def _wake(state: RunState, command: Wake, now: Instant) -> Decided:
    return _move(state, "queued", command.reason, due_at=None)


def _pause(state: RunState, _: Pause, now: Instant) -> Decided:
    if state.status == "paused":
        return Decided(state, None)
    if state.status == "running":
        asked = state if state.pause_requested else _replace(state, pause_requested=True)
        return Decided(asked, None)
    return _move(state, "paused", "paused")


def _resume(state: RunState, command: Resume, now: Instant) -> Decided:
    if state.status == "running":
        undone = _replace(state, pause_requested=False) if state.pause_requested else state
        return Decided(undone, None)
    if state.started_at is None and command.in_turn:
        return _move(state, "awaiting_turn", "resumed")
    if state.started_at is None and state.due_at is not None and state.due_at > now:
        return _move(state, "scheduled", "resumed")
    if state.retry_pending and state.due_at is not None and state.due_at > now:
        return _move(state, "waiting", "resumed")
    return _move(state, "queued", "resumed", due_at=None)


def _request_stop(state: RunState, command: RequestStop, now: Instant) -> Decided:
    if state.started_at is None:
        status, reason = _stopped(_replace(state, stop_cause=command.cause))
        return _kill(_replace(state, stop_cause=command.cause), status, reason, now)
    if state.stop_cause is not None:
        if command.cause == "timeout":
            grace = state.grace_until if state.grace_until is not None else now + command.grace_ms
            return Decided(_replace(state, deadline_at=None, grace_until=grace), None)
        return _kill(state, "cancelled", "forced", now)
    state = _replace(state, stop_cause=command.cause, pause_requested=False)
    if command.cause == "timeout":
        state = _replace(state, deadline_at=None)
    if command.cause == "timeout" or state.status == "diverged":
        # A diverged run cannot hear of it: its time for clean-up begins now.
        state = _replace(state, grace_until=now + command.grace_ms)
    if state.status in ("waiting", "paused", "stalled"):
        return _move(state, "queued", "stop", due_at=None)
    return Decided(state, None)


def _terminate(state: RunState, _: Terminate, now: Instant) -> Decided:
    return _kill(state, "cancelled", "terminated", now)


def _end_grace(state: RunState, _: EndGrace, now: Instant) -> Decided:
    if state.grace_until is None or state.grace_until > now:
        raise InvalidTransition("the time for clean-up is not over")
    status, reason = _stopped(state, "grace_over")
    return _kill(state, status, reason, now)


def _stall(state: RunState, _: Stall, now: Instant) -> Decided:
    return _move(state, "stalled", "undeliverable")


def _redeliver(state: RunState, _: Redeliver, now: Instant) -> Decided:
    return _move(state, "queued", "redelivered")


def _reconsider(state: RunState, command: Reconsider, now: Instant) -> Decided:
    return _move(state, "queued", command.reason)


_DECIDE: dict[type[Command], Callable[[RunState, Any, Instant], Decided]] = {
    Due: _due,
    Admit: _admit,
    Untangle: _untangle,
    Claim: _claim,
    Record: _record,
    Park: _park,
    Complete: _complete,
    Fail: _fail,
    RetryRun: _retry_run,
    Release: _release,
    Diverge: _diverge,
    Recover: _recover,
    Wake: _wake,
    Pause: _pause,
    Resume: _resume,
    RequestStop: _request_stop,
    Terminate: _terminate,
    EndGrace: _end_grace,
    Stall: _stall,
    Redeliver: _redeliver,
    Reconsider: _reconsider,
}


def wake_at(state: RunState) -> Instant | None:
    """When a daemon must look at this run, whatever else happens."""
    dues = [state.grace_until, state.deadline_at]
    if state.status in ("scheduled", "waiting"):
        dues.append(state.due_at)
    known = [due for due in dues if due is not None]
    return min(known) if known and state.status not in TERMINAL else None


def is_alone(state: RunState) -> bool:
    """Whether the run must be executed with nothing beside it."""
    return state.losses >= ALONE_AFTER_LOSSES


TASK_LEGAL: dict[str | None, frozenset[str]] = {
    None: frozenset({"running", "completed", "failed"}),
    "running": frozenset({"running", "completed", "failed", "lost", "discarded"}),
    "failed": frozenset({"failed"}),
    "completed": frozenset({"completed"}),
    "lost": frozenset({"lost"}),
    "discarded": frozenset({"discarded"}),
}
"""An attempt's next statuses; a repeat of a terminal write is no change."""
