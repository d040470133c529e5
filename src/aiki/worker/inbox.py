"""The inbox of a run that is executed: outside facts, in the order in which they are taken."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator

from aiki.model.task import FACT_ORDER, Fact


def _order(fact: Fact) -> tuple[int, int, str]:
    return (fact.at, FACT_ORDER[fact.kind], fact.id)


class Inbox:
    """Facts by database instant; then cancel, event, child; then by id."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._facts = sorted(facts, key=_order)
        self._known = {fact.id for fact in self._facts}

    def add(self, fact: Fact) -> bool:
        """A fact arrived; one that is known already changes nothing."""
        if fact.id in self._known:
            return False
        self._known.add(fact.id)
        insort(self._facts, fact, key=_order)
        return True

    def first(self, wanted: Callable[[Fact], bool]) -> Fact | None:
        """The oldest fact that is wanted now."""
        return next((fact for fact in self._facts if wanted(fact)), None)

    def take(self, fact: Fact) -> None:
        """The fact was numbered."""
        self._facts.remove(fact)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)
