"""The outside of a claimed run: facts and due timers, taken in the order of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from aiki.clock import Instant
from aiki.model.task import Entry, Fact, Key
from aiki.worker.inbox import Inbox
from aiki.workflow.calls import Call

MakeEntry = Callable[..., Entry]


class Outside:
    """Knows what the run waits for, and which fact comes next."""

    def __init__(self, facts: Iterable[Fact], *, stop_delivered: bool) -> None:
        self.inbox = Inbox(facts)
        self.stop_delivered = stop_delivered
        self.forget_calls()

    def forget_calls(self) -> None:
        """The workflow's memory is rebuilt: calls come again."""
        self._dues: dict[Key, Call] = {}
        self._children: dict[str, Call] = {}
        self._events: dict[Key, Call] = {}

    def begin(self, call: Call) -> None:
        """The workflow begins to wait."""
        if call.due_at is not None:
            self._dues[call.key] = call
        if call.events:
            self._events[call.key] = call

    def begin_child(self, child_id: str, call: Call) -> None:
        """The workflow has a child."""
        self._children[child_id] = call

    def withdraw(self, call: Call) -> None:
        """The workflow waits no longer."""
        self._dues.pop(call.key, None)
        self._events.pop(call.key, None)

    def withdraw_child(self, child_id: str) -> None:
        """The child's end is of no interest any more."""
        self._children.pop(child_id, None)

    def dues(self) -> list[Instant]:
        """When timers are due."""
        return [call.due_at for call in self._dues.values() if call.due_at is not None]

    def is_wanted(self, fact: Fact) -> bool:
        """Whether a live wait exists for the fact."""
        if fact.kind == "cancel":
            return not self.stop_delivered
        return self._waiting_call(fact) is not None

    def _waiting_call(self, fact: Fact) -> Call | None:
        """The call that takes the fact: of several, the one that was made first."""
        if fact.kind == "child":
            call = self._children.get(fact.name)
            return call if call is not None and call.waited and not call.future.done() else None
        return next((call for call in self._events.values() if fact.name in call.events), None)

    @property
    def has_news(self) -> bool:
        """Whether there is a fact that a live wait would take."""
        return self.inbox.first(self.is_wanted) is not None

    def next_entry(
        self, now: Instant, make: MakeEntry, *, stop_waits: bool = False
    ) -> Entry | None:
        """The oldest fact for which a live wait exists, as an entry.

        By database instant; then cancel, event, child, timer; then id. With `stop_waits` it is no
        request to stop.
        """
        fact = self.inbox.first(
            lambda fact: self.is_wanted(fact) and not (stop_waits and fact.kind == "cancel")
        )
        timer = self._due_timer(now)
        if timer is not None and (fact is None or (timer.due_at or 0) < fact.at):
            self.withdraw(timer)
            return make(timer.key, "timer", name=timer.name, due_at=timer.due_at)
        if fact is None:
            return None
        self.inbox.take(fact)
        return self._entry_of(fact, make)

    def _entry_of(self, fact: Fact, make: MakeEntry) -> Entry:
        common: dict[str, Any] = {"value": fact.value, "fact_id": fact.id}
        if fact.kind == "cancel":
            self.stop_delivered = True
            return make(Key("cancel", 0), "cancel", name=fact.name, **common)
        call = self._waiting_call(fact)
        assert call is not None, "a fact was taken that nothing waits for"
        self.withdraw(call)
        name = call.name if fact.kind == "child" else fact.name
        return make(
            call.key,
            fact.kind,
            name=name,
            failure=fact.failure,
            arguments=call.arguments or None,
            **common,
        )

    def _due_timer(self, now: Instant) -> Call | None:
        if not self._dues:
            return None
        call = min(self._dues.values(), key=lambda call: call.due_at or 0)
        return call if (call.due_at or 0) <= now else None
