"""The property of replay: what a run sees is the same live, after a crash and after an eviction.

`AIKI_TEST_EXAMPLES` says how many random programs are tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aiki import Run
from aiki.model.task import Entry
from tests.replay.holder import HasDiverged, Holder
from tests.replay.programs import Program, Trace, carry_out, programs

EXAMPLES = int(os.environ.get("AIKI_TEST_EXAMPLES", "300"))
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
schedules = st.lists(st.integers(0, 29), max_size=60)


class Played(Holder):
    """A holder that knows what its workflow has seen."""

    def __init__(self, program: Program, choices: Sequence[int], **options: Any) -> None:
        self.trace: Trace = []

        async def main(run: Run) -> Trace:
            return await carry_out(run, program, self.trace)

        super().__init__(main, choices, **options)

    def load(self) -> None:
        self.trace.clear()
        super().load()

    def state(self) -> tuple[object, ...]:
        """All that decides what can happen next."""
        calls = self.execution.live.values()
        live = {(call.key, call.kind, call.due_at, call.waited) for call in calls}
        return list(self.trace), live, self.execution.instant


def played(program: Program, choices: Sequence[int], cancel: bool) -> Played:
    """One life without any trouble."""
    with closing(Played(program, choices, cancel=cancel)) as holder:
        holder.finish()
    return holder


@thorough
@given(programs, schedules, st.booleans())
def test_eviction_at_every_entry_changes_nothing(
    program: Program, choices: list[int], cancel: bool
) -> None:
    plain = played(program, choices, cancel)
    with closing(Played(program, choices, cancel=cancel)) as evicted:
        evicted.replay()
        while evicted.step():
            evicted.begin()
            before = evicted.state()
            evicted.evict()
            evicted.replay()
            assert evicted.state() == before
        assert evicted.ending == plain.ending
        assert evicted.trace == plain.trace
        assert evicted.entries == plain.entries
        assert evicted.executed == plain.executed


@thorough
@given(programs, schedules, st.booleans())
def test_a_crash_at_every_entry_changes_nothing(
    program: Program, choices: list[int], cancel: bool
) -> None:
    """The records up to there are replayed, and the run goes on with the same facts."""
    plain = played(program, choices, cancel)
    for recorded in range(len(plain.entries) + 1):
        with closing(Played(program, (), entries=plain.entries[:recorded])) as again:
            again.replay()
            assert again.trace == plain.trace[: len(again.trace)]
            for entry in plain.entries[recorded:]:
                again.begin()
                assert again.execution.outcome is None
                assert entry.kind == "cancel" or entry.key in again.execution.live
                again.execution.deliver(entry)
                again.settle()
            assert again.ending == plain.ending
            assert again.trace == plain.trace


@thorough
@given(programs, schedules, st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=5))
def test_crashes_lose_no_record_and_repeat_none(
    program: Program, choices: list[int], crashes: list[tuple[int, int]]
) -> None:
    """After a crash other results may come; but what was recorded stays, and all of it replays."""
    with closing(Played(program, choices)) as holder:
        holder.replay()
        alive = holder.execution.outcome is None
        for after, lost in crashes:
            for _ in range(after):
                alive = alive and holder.step()
            if not alive:
                break
            holder.crash(max(0, len(holder.entries) - lost))
            holder.replay()
        while alive:
            alive = holder.step()
    with closing(Played(program, (), entries=holder.entries)) as again:
        again.replay()
        assert again.ending == holder.ending
        assert again.trace == holder.trace


# Code that changed

values = st.lists(st.integers(0, 3), min_size=1, max_size=6)


def calls_in_turn(arguments: Sequence[int]) -> Program:
    return ("seq", tuple(("task", n) for n in arguments))


def calls_together(arguments: Sequence[int]) -> Program:
    return ("settle", tuple(("task", n) for n in arguments))


def recorded(program: Program, choices: Sequence[int]) -> list[Entry]:
    entries = played(program, choices, cancel=False).entries
    assume(all(entry.failure is None for entry in entries))
    return entries


@thorough
@given(values, schedules, st.randoms(use_true_random=False))
def test_reordered_calls_replay(arguments: list[int], choices: list[int], random: Random) -> None:
    entries = recorded(calls_together(arguments), choices)
    random.shuffle(arguments)
    for program in (calls_together(arguments), calls_in_turn(arguments)):
        with closing(Played(program, (), entries=entries)) as again:
            again.finish()
            assert again.executed == []


@thorough
@given(values, schedules, st.data())
def test_an_inserted_or_changed_call_is_caught_before_anything_executes(
    arguments: list[int], choices: list[int], data: st.DataObject
) -> None:
    entries = recorded(calls_in_turn(arguments), choices)
    place = data.draw(st.integers(0, len(arguments) - 1))
    changed = list(arguments)
    changed[place : place + data.draw(st.integers(0, 1))] = [99]
    with closing(Played(calls_in_turn(changed), (), entries=entries)) as again:
        with pytest.raises(HasDiverged) as caught:
            again.replay()
        assert again.executed == []
        assert len(caught.value.divergence.left_numbers) == len(arguments) - place


@thorough
@given(values, schedules, st.data())
def test_a_removed_call_is_accepted_only_if_nothing_new_is_called(
    arguments: list[int], choices: list[int], data: st.DataObject
) -> None:
    entries = recorded(calls_together(arguments), choices)
    place = data.draw(st.integers(0, len(arguments) - 1))
    fewer = [n for n in arguments if n != arguments[place]]
    with closing(Played(calls_together(fewer), (), entries=entries)) as ended:
        ended.finish()
        assert ended.executed == []
    more = ("seq", (calls_together(fewer), ("task", 99)))
    with closing(Played(more, (), entries=entries)) as again:
        with pytest.raises(HasDiverged):
            again.replay()
        assert again.executed == []


@thorough
@given(values, schedules)
def test_a_removed_call_is_answered_in_code(arguments: list[int], choices: list[int]) -> None:
    entries = recorded(("settle", (calls_together(arguments), ("nap", "a", 5))), choices)
    without = ("seq", (("nap", "a", 5), ("task", 99)))
    with closing(Played(without, (), entries=entries)) as again:
        with pytest.raises(HasDiverged):
            again.replay()
    with closing(Played(without, (), entries=entries, removed=["work"])) as answered:
        answered.finish()
        assert len(answered.executed) == 1


@thorough
@given(values, schedules)
def test_open_starts_count_as_recorded(arguments: list[int], choices: list[int]) -> None:
    """A task that was started and lost with its worker must be asked for before anything new."""
    with closing(Played(calls_together(arguments), ())) as first:
        first.replay()
        started = list(first.executed)
    with closing(Played(calls_together(arguments), choices, started=started)) as same:
        same.finish()
        assert sorted(same.executed) == sorted(started)
    with closing(Played(("task", 99), (), started=started)) as other:
        with pytest.raises(HasDiverged) as caught:
            other.replay()
        assert other.executed == []
        assert all("started" in name for name in caught.value.divergence.left)
