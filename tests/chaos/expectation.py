"""What a ledger must show: which counters were raised, by whom, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple


class Execution(NamedTuple):
    """A line of the ledger."""

    counter: str
    key: str
    """The idempotency key under which it was raised."""
    shard: str = ""
    """Of the worker that raised it; most have none."""


class Expectation(NamedTuple):
    """What is known of the ledger before anything is started."""

    certain: frozenset[str]
    """Counters that must be raised, each under one key."""
    possible: frozenset[str] = frozenset()
    """Counters of branches that are cancelled, which got as far as they got: one key at most."""
    shards: Mapping[str, str] = {}
    """The shards of counters; a worker of another one must not have raised them."""
    lines: Sequence[Sequence[frozenset[str]]] = ()
    """Counters of runs that have one ordering key: all of a run's before any of the next one's."""

    def objections(self, executions: Sequence[Execution]) -> list[str]:
        """What is wrong with these."""
        return [
            *self._wrong_counts(executions),
            *self._wrong_shards(executions),
            *self._wrong_orders(executions),
        ]

    def _wrong_counts(self, executions: Sequence[Execution]) -> list[str]:
        keys = Counter(counter for counter, _ in {(each.counter, each.key) for each in executions})
        known = self.certain | self.possible
        found = [f"counter {id} was never raised" for id in sorted(self.certain - keys.keys())]
        found += [f"counter {id} is nobody's" for id in sorted(keys.keys() - known)]
        found += [
            f"counter {id} was raised under {count} keys"
            for id, count in sorted(keys.items())
            if count > 1
        ]
        return found

    def _wrong_shards(self, executions: Sequence[Execution]) -> list[str]:
        return [
            f"counter {each.counter} of shard {wanted!r} was raised by a worker of {each.shard!r}"
            for each in sorted(set(executions))
            if (wanted := self.shards.get(each.counter, "")) != each.shard
        ]

    def _wrong_orders(self, executions: Sequence[Execution]) -> list[str]:
        # A worker that was frozen may raise a counter again when its run is long over.
        first: dict[str, int] = {}
        for place, each in enumerate(executions):
            first.setdefault(each.counter, place)
        found: list[str] = []
        for line in self.lines:
            for run, following in pairwise(line):
                last = max(run, key=lambda id: first.get(id, 0))
                early = min(following, key=lambda id: first.get(id, len(executions)))
                if first.get(early, len(executions)) < first.get(last, 0):
                    found.append(f"counter {early} was raised before {last}, whose turn was before")
        return found
