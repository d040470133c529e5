"""The whole legality matrix of runs: every status with every command, written out by hand.

The rows come from the state-machine text (T1 to T21 and the rows that win over its table), not
from `machine.LEGAL`; the last test of the first part compares the two in both directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest

from aiki import machine
from aiki.clock import Instant
from aiki.errors import ClaimLost, InvalidTransition
from aiki.machine import Command, decide, is_alone, wake_at
from aiki.model.run import STATUSES, TERMINAL, RunState, Status, StopCause

NOW: Instant = 1_000_000
LATER = NOW + 5_000
EARLIER = NOW - 5_000
EPOCH = 3

COMMANDS: dict[str, Command] = {
    "admit": machine.Admit(),
    "untangle": machine.Untangle(),
    "due": machine.Due(),
    "claim": machine.Claim("worker-2", "claim-2", "source-2"),
    "record": machine.Record(EPOCH),
    "park": machine.Park(EPOCH, LATER, False, "report-1"),
    "complete": machine.Complete(EPOCH, "report-1"),
    "fail": machine.Fail(EPOCH, "report-1"),
    "retry": machine.RetryRun(EPOCH, LATER, "report-1"),
    "release": machine.Release(EPOCH, "report-1"),
    "diverge": machine.Diverge(EPOCH, "report-1"),
    "recover": machine.Recover(),
    "wake": machine.Wake("event"),
    "pause": machine.Pause(),
    "resume": machine.Resume(),
    "stop": machine.RequestStop("cancel"),
    "terminate": machine.Terminate(),
    "end_grace": machine.EndGrace(),
    "stall": machine.Stall(),
    "redeliver": machine.Redeliver(),
    "reconsider": machine.Reconsider("decision"),
}
"""All 21 commands; those of a worker carry the epoch of `in_status`."""

FENCED = frozenset({"record", "park", "complete", "fail", "retry", "release", "diverge"})
"""Commands of a claim holder: out of place, they are a lost claim."""

_ = ""
MATRIX: dict[str, tuple[str, ...]] = {
    # awaiting_turn scheduled queued running waiting paused diverged stalled; ended ones refuse all
    "admit": ("T20", _, _, _, _, _, _, _),
    "untangle": ("T21", _, _, _, _, _, _, _),
    "due": (_, "T2", _, _, _, _, _, _),
    "claim": (_, _, "T3", _, _, _, _, _),
    "record": (_, _, _, "T4", _, _, _, _),
    "park": (_, _, _, "T5", _, _, _, _),
    "complete": (_, _, _, "T5", _, _, _, _),
    "fail": (_, _, _, "T5", _, _, _, _),
    "retry": (_, _, _, "T5", _, _, _, _),
    "release": (_, _, _, "T7", _, _, _, _),
    "diverge": (_, _, _, "T18", _, _, _, _),
    "recover": (_, _, _, "T6", _, _, _, _),
    "wake": (_, _, _, _, "T8", _, _, _),
    "pause": ("T13", "T13", "T13", "T13", "T13", "T13", _, _),
    "resume": (_, _, _, "T14", _, "T14", _, _),
    "stop": ("T15", "T15", "T15", "T15", "T15", "T15", "T15", "T15"),
    "terminate": ("T15", "T15", "T15", "T15", "T15", "T15", "T15", "T15"),
    "end_grace": ("T15", "T15", "T15", "T15", "T15", "T15", "T15", "T15"),
    "stall": (_, _, "T16", _, _, _, _, _),
    "redeliver": (_, _, _, _, _, _, _, "T16"),
    "reconsider": (_, _, _, _, _, _, "T19", _),
}
LIVE: tuple[Status, ...] = (
    "awaiting_turn", "scheduled", "queued", "running", "waiting", "paused", "diverged", "stalled",
)  # fmt: skip


NEVER_CLAIMED = frozenset({"awaiting_turn", "scheduled"})


def in_status(status: Status, **changes: Any) -> RunState:
    """A run that was claimed before, whose time for clean-up is over."""
    fields: dict[str, Any] = {
        "revision": 7, "epoch": EPOCH, "holder": "worker-1", "claim_id": "claim-1",
        "started_at": EARLIER, "grace_until": NOW,
    }  # fmt: skip
    return RunState(status, **(fields | changes))


def unstarted(status: Status, **changes: Any) -> RunState:
    """A run that nobody has claimed yet."""
    return RunState(status, **changes)


def is_legal(status: str, command: str) -> bool:
    return status in LIVE and bool(MATRIX[command][LIVE.index(status)])


def test_the_matrix_names_every_status_and_command() -> None:
    assert set(STATUSES) == {*LIVE, *TERMINAL}
    assert {type(command) for command in COMMANDS.values()} == set(machine.LEGAL)
    assert MATRIX.keys() == COMMANDS.keys()
    assert len(COMMANDS) == 21


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_cell(status: Status, command: str) -> None:
    state = unstarted(status) if status in NEVER_CLAIMED else in_status(status, due_at=NOW)
    if command == "end_grace":
        state = in_status(status)
    kept = msgspec.structs.astuple(state)
    if is_legal(status, command):
        after = decide(state, COMMANDS[command], NOW).state
        assert after.revision in (state.revision, state.revision + 1)
    else:
        refusal = ClaimLost if command in FENCED else InvalidTransition
        with pytest.raises(refusal, match=status):
            decide(state, COMMANDS[command], NOW)
    assert msgspec.structs.astuple(state) == kept


@pytest.mark.parametrize("command", sorted(FENCED))
@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_another_epoch_is_a_lost_claim(command: str, epoch: int) -> None:
    stale = msgspec.structs.replace(COMMANDS[command], epoch=epoch)
    with pytest.raises(ClaimLost, match=f"epoch {epoch} is over"):
        decide(in_status("running"), stale, NOW)


class Step(NamedTuple):
    """One legal transition with the guard that leads to it."""

    row: str
    state: RunState
    command: Command
    to: Status
    reason: str | None


def _stop(cause: StopCause) -> Command:
    return machine.RequestStop(cause, 1_000)


def _steps_of_claims() -> list[Step]:
    running = in_status("running")
    pausing = in_status("running", pause_requested=True)
    stopped = in_status("running", stop_cause="cancel", stop_delivered=True)
    timed_out = in_status("running", stop_cause="timeout", stop_delivered=True)
    undelivered = in_status("running", stop_cause="cancel")
    poison = in_status("running", losses=4, alone_losses=2)
    commands = COMMANDS
    return [
        Step("T2", unstarted("scheduled", due_at=NOW), commands["due"], "queued", "new"),
        Step("T20", unstarted("awaiting_turn"), commands["admit"], "queued", "admitted"),
        Step("T21", unstarted("awaiting_turn"), commands["untangle"], "failed", "deadlock"),
        Step(
            "T20",
            unstarted("awaiting_turn", due_at=LATER),
            commands["admit"],
            "scheduled",
            "admitted",
        ),
        Step("T3", unstarted("queued"), commands["claim"], "running", "claimed"),
        Step("T4", running, commands["record"], "running", None),
        Step("T5", running, commands["park"], "waiting", "parked"),
        Step("T5", running, machine.Park(EPOCH, None, False), "waiting", "parked"),
        Step("T5", running, machine.Park(EPOCH, LATER, True), "queued", "woken"),
        Step("T5", running, machine.Park(EPOCH, NOW, False), "queued", "woken"),
        Step("T13", pausing, machine.Park(EPOCH, LATER, False), "paused", "paused"),
        Step("T13", pausing, machine.Park(EPOCH, NOW, True), "paused", "paused"),
        Step("T5", running, commands["complete"], "completed", "returned"),
        Step("T5", stopped, commands["complete"], "completed", "returned"),
        Step("T5", running, commands["fail"], "failed", "raised"),
        Step("T5", undelivered, commands["fail"], "failed", "raised"),
        Step("T15", stopped, commands["fail"], "cancelled", "cancelled"),
        Step("T17", timed_out, commands["fail"], "failed", "timeout"),
        Step("T5", running, commands["retry"], "waiting", "retry"),
        Step("T6", running, commands["recover"], "queued", "recovered"),
        Step("T6", poison, commands["recover"], "failed", "dead_letter"),
        Step("T7", running, commands["release"], "queued", "released"),
        Step("T13", pausing, commands["release"], "paused", "paused"),
        Step("T18", running, commands["diverge"], "diverged", "diverged"),
    ]


def _steps_of_others() -> list[Step]:
    delayed = unstarted("paused", due_at=LATER)
    backing_off = in_status("paused", due_at=LATER, retry_pending=True)
    steps = [
        Step("T8-T12", in_status("waiting"), machine.Wake(reason), "queued", reason)
        for reason in ("event", "child", "timer", "retry", "stop")
    ]
    steps += [
        Step("T13", in_status(status), COMMANDS["pause"], "paused", "paused")
        for status in LIVE
        if status in ("awaiting_turn", "scheduled", "queued", "waiting")
    ]
    return [
        *steps,
        Step("T13", in_status("running"), COMMANDS["pause"], "running", None),
        Step("T13", in_status("paused"), COMMANDS["pause"], "paused", None),
        Step("T14", in_status("paused", due_at=LATER), COMMANDS["resume"], "queued", "resumed"),
        Step("T14", unstarted("paused"), machine.Resume(in_turn=True), "awaiting_turn", "resumed"),
        Step("T14", delayed, COMMANDS["resume"], "scheduled", "resumed"),
        Step("T14", backing_off, COMMANDS["resume"], "waiting", "resumed"),
        Step("T14", unstarted("paused", due_at=NOW), COMMANDS["resume"], "queued", "resumed"),
        Step("T14", in_status("running"), COMMANDS["resume"], "running", None),
        Step("T16", in_status("queued"), COMMANDS["stall"], "stalled", "undeliverable"),
        Step("T16", in_status("stalled"), COMMANDS["redeliver"], "queued", "redelivered"),
        Step("T19", in_status("diverged"), COMMANDS["reconsider"], "queued", "decision"),
        Step(
            "T19", in_status("diverged"), machine.Reconsider("fingerprint"), "queued", "fingerprint"
        ),
    ]


_WHEN_STOPPED: dict[Status, tuple[Status, str | None]] = {
    "queued": ("queued", None),
    "running": ("running", None),
    "waiting": ("queued", "stop"),
    "paused": ("queued", "stop"),
    "diverged": ("diverged", None),
    "stalled": ("queued", "stop"),
}
"""What a first request does to a run that a worker has held before."""


def _steps_of_stops() -> list[Step]:
    steps: list[Step] = []
    for status in LIVE:
        if status in ("awaiting_turn", "scheduled", "queued", "paused", "stalled"):
            new = unstarted(status)
            steps.append(Step("T15", new, _stop("cancel"), "cancelled", "cancelled"))
            steps.append(Step("T17", new, _stop("timeout"), "failed", "timeout"))
        if status not in NEVER_CLAIMED:
            state = in_status(status)
            for cause in ("cancel", "timeout"):
                steps.append(Step("T15", state, _stop(cause), *_WHEN_STOPPED[status]))
                asked = in_status(status, stop_cause=cause)
                steps.append(Step("T15", asked, _stop("cancel"), "cancelled", "forced"))
            asked = in_status(status, stop_cause="cancel", deadline_at=NOW)
            steps.append(Step("T17", asked, _stop("timeout"), status, None))
        steps.append(
            Step("T15", in_status(status), COMMANDS["terminate"], "cancelled", "terminated")
        )
        over = in_status(status, stop_cause="cancel")
        steps.append(Step("T15", over, COMMANDS["end_grace"], "cancelled", "grace_over"))
        over = in_status(status, stop_cause="timeout")
        steps.append(Step("T17", over, COMMANDS["end_grace"], "failed", "timeout"))
    return steps


STEPS = [*_steps_of_claims(), *_steps_of_others(), *_steps_of_stops()]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.row}-{step.state.status}")
def test_where_each_legal_command_leads(step: Step) -> None:
    after, reason = decide(step.state, step.command, NOW)
    assert (after.status, reason) == (step.to, step.reason)
    assert after.revision == step.state.revision + (reason is not None)
    assert (after.ended_at == NOW) == (after.status in TERMINAL)


def test_the_table_holds_these_steps_and_no_others() -> None:
    written: dict[type[Command], dict[Status, set[tuple[Status, str | None]]]] = {}
    for step in STEPS:
        by_status = written.setdefault(type(step.command), {})
        by_status.setdefault(step.state.status, set()).add((step.to, step.reason))
    assert written == machine.LEGAL


# Guards


def test_nothing_is_due_early() -> None:
    with pytest.raises(InvalidTransition, match="not due yet"):
        decide(unstarted("scheduled", due_at=NOW + 1), machine.Due(), NOW)


@pytest.mark.parametrize("grace_until", [None, NOW + 1])
def test_the_grace_does_not_end_early(grace_until: Instant | None) -> None:
    with pytest.raises(InvalidTransition, match="not over"):
        decide(in_status("running", grace_until=grace_until), machine.EndGrace(), NOW)


def test_a_claim_takes_a_new_epoch_and_keeps_the_first_start() -> None:
    claim = machine.Claim("worker-2", "claim-2", "source-2")
    first = decide(unstarted("queued"), claim, NOW).state
    assert (first.epoch, first.holder, first.claim_id) == (1, "worker-2", "claim-2")
    assert (first.started_at, first.fingerprint, first.attempt) == (NOW, "source-2", 1)
    later = decide(in_status("queued"), claim, NOW).state
    assert (later.epoch, later.started_at, later.attempt) == (EPOCH + 1, EARLIER, 1)


def test_only_the_claim_after_a_retry_starts_a_new_attempt() -> None:
    pending = decide(in_status("running"), machine.RetryRun(EPOCH, NOW), NOW).state
    assert (pending.attempt, pending.retry_pending, pending.due_at) == (1, True, NOW)
    queued = decide(pending, machine.Wake("retry"), NOW).state
    claimed = decide(queued, machine.Claim("worker-2", "claim-2"), NOW).state
    assert (claimed.attempt, claimed.retry_pending) == (2, False)


ENDED_FROM_OUTSIDE = [
    (in_status("running"), machine.Terminate()),
    (in_status("running", stop_cause="cancel"), machine.RequestStop("cancel")),
    (in_status("running", stop_cause="cancel"), machine.EndGrace()),
    (in_status("running", losses=4, alone_losses=2), machine.Recover()),
]


@pytest.mark.parametrize(
    ("state", "command"), ENDED_FROM_OUTSIDE, ids=lambda value: type(value).__name__
)
def test_who_ends_it_from_outside_fences_the_holder(state: RunState, command: Command) -> None:
    after = decide(state, command, NOW).state
    assert after.epoch == EPOCH + 1
    with pytest.raises(ClaimLost):
        decide(after, machine.Complete(EPOCH), NOW)


def test_an_ended_run_has_nothing_left_that_time_could_touch() -> None:
    state = in_status("waiting", due_at=LATER, deadline_at=LATER, pause_requested=True)
    after = decide(state, machine.Terminate(), NOW).state
    assert (after.due_at, after.deadline_at, after.grace_until) == (None, None, None)
    assert (after.pause_requested, wake_at(after)) == (False, None)


# Losses


def _lose(state: RunState) -> RunState:
    """Recovered from a dead worker and, unless it ended, claimed again."""
    after = decide(state, machine.Recover(), NOW).state
    if after.status == "failed":
        return after
    return decide(after, machine.Claim("worker", "claim"), NOW).state


def test_losses_lead_to_solitude_and_only_then_to_the_dead_letter() -> None:
    state = decide(unstarted("queued"), machine.Claim("worker", "claim"), NOW).state
    seen = []
    while state.status == "running":
        seen.append((state.losses, state.alone_losses, is_alone(state)))
        state = _lose(state)
    assert seen == [(0, 0, False), (1, 0, False), (2, 0, True), (3, 1, True), (4, 2, True)]
    assert (state.status, state.losses, state.alone_losses) == ("failed", 5, 3)


CLEARING: dict[str, tuple[Command, bool]] = {
    "a recorded entry": (machine.Record(EPOCH), True),
    "a clean park": (machine.Park(EPOCH, LATER, False), True),
    "a release": (machine.Release(EPOCH), True),
    "a retry": (machine.RetryRun(EPOCH, LATER), True),
    "another loss": (machine.Recover(), False),
    "a divergence": (machine.Diverge(EPOCH), False),
    "a request to stop": (machine.RequestStop("cancel"), False),
}


@pytest.mark.parametrize("what", CLEARING)
def test_what_clears_losses(what: str) -> None:
    command, clears = CLEARING[what]
    after = decide(in_status("running", losses=3, alone_losses=1), command, NOW).state
    assert ((after.losses, after.alone_losses) == (0, 0)) == clears


# Stopping


@pytest.mark.parametrize("status", sorted(_WHEN_STOPPED))
def test_a_second_request_ends_the_run_at_once(status: Status) -> None:
    asked = decide(in_status(status), _stop("cancel"), NOW).state
    assert asked.stop_cause == "cancel"
    ended, reason = decide(asked, _stop("cancel"), NOW)
    assert (ended.status, reason, ended.epoch) == ("cancelled", "forced", EPOCH + 1)


def test_the_grace_of_a_cancel_begins_when_the_run_hears_of_it() -> None:
    asked = decide(in_status("running", grace_until=None), _stop("cancel"), NOW).state
    assert asked.grace_until is None
    told = decide(asked, machine.Record(EPOCH, True, 1_000), NOW).state
    assert (told.stop_delivered, told.grace_until) == (True, NOW + 1_000)
    again = decide(told, machine.Record(EPOCH, True, 1_000), NOW + 500).state
    assert again.grace_until == NOW + 1_000


def test_the_grace_of_a_timeout_begins_with_the_timeout() -> None:
    state = in_status("running", deadline_at=NOW, grace_until=None)
    asked = decide(state, _stop("timeout"), NOW).state
    assert (asked.deadline_at, asked.grace_until) == (None, NOW + 1_000)
    told = decide(asked, machine.Record(EPOCH, True, 9_000), NOW).state
    assert told.grace_until == NOW + 1_000


@pytest.mark.parametrize("status", sorted(_WHEN_STOPPED))
def test_a_run_whose_cancel_nobody_heard_ends_when_its_time_is_over(status: Status) -> None:
    state = in_status(status, deadline_at=NOW, grace_until=None, stop_cause="cancel")
    late = decide(state, _stop("timeout"), NOW).state
    assert (late.deadline_at, late.grace_until) == (None, NOW + 1_000)
    ended, reason = decide(late, machine.EndGrace(), NOW + 1_000)
    assert (ended.status, reason) == ("cancelled", "grace_over")


def test_a_timeout_does_not_prolong_the_grace_of_a_cancel() -> None:
    state = in_status("running", deadline_at=NOW, grace_until=NOW + 10, stop_cause="cancel")
    assert decide(state, _stop("timeout"), NOW).state.grace_until == NOW + 10


# Pausing


def test_a_running_run_is_paused_at_its_next_park_and_a_resume_before_that_undoes_it() -> None:
    asked = decide(in_status("running"), machine.Pause(), NOW).state
    assert (asked.status, asked.pause_requested) == ("running", True)
    undone = decide(asked, machine.Resume(), NOW).state
    parked = decide(undone, machine.Park(EPOCH, LATER, False), NOW).state
    assert parked.status == "waiting"
    held = decide(asked, machine.Park(EPOCH, LATER, False), NOW).state
    assert (held.status, held.pause_requested, held.due_at) == ("paused", False, LATER)


def test_a_paused_run_keeps_its_due_but_time_does_not_wake_it() -> None:
    held = decide(in_status("waiting", due_at=LATER, grace_until=None), machine.Pause(), NOW).state
    assert (held.due_at, wake_at(held)) == (LATER, None)
    assert wake_at(decide(held, machine.Resume(), NOW).state) is None


def test_a_paused_run_still_has_its_deadline() -> None:
    held = in_status("paused", due_at=EARLIER, deadline_at=LATER, grace_until=None)
    assert wake_at(held) == LATER


def test_a_request_to_stop_ends_a_pause() -> None:
    asked = in_status("running", pause_requested=True)
    assert not decide(asked, _stop("cancel"), NOW).state.pause_requested


# Daemons


@pytest.mark.parametrize("status", LIVE)
def test_when_a_daemon_must_look(status: Status) -> None:
    state = in_status(status, due_at=NOW + 1, deadline_at=NOW + 2, grace_until=NOW + 3)
    assert wake_at(state) == (NOW + 1 if status in ("scheduled", "waiting") else NOW + 2)
    assert wake_at(msgspec.structs.replace(state, deadline_at=NOW)) == NOW
