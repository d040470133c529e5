"""What a cell of the matrix showed, and whether that is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiki.model.run import TERMINAL
from tests.chaos.expectation import Execution, Expectation


class Stuck(NamedTuple):
    """A run that did not complete in time, or that ended otherwise."""

    run_id: str
    status: str
    last: str
    """Its last transition."""
    error: str = ""
    """What its caller was told, if anything."""

    def __str__(self) -> str:
        what = f"ended as {self.status}" if self.status in TERMINAL else f"is stuck: {self.status}"
        why = f": {self.error}" if self.error else ""
        return f"run {self.run_id} {what}, last transition {self.last}{why}"


class Outcome(NamedTuple):
    """All that was seen of one pair of store and queue."""

    store: str
    queue: str
    seed: int
    runs: int
    faults: Counter[str]
    recovered: int
    """Runs that were taken from a worker that had died, or seemed to have."""
    executions: Sequence[Execution]
    expected: Expectation
    answers: Mapping[str, tuple[int, int]]
    """What runs answered, and what they should have, where these differ."""
    stuck: Sequence[Stuck]
    broken: Sequence[str]
    """Laws of the database that do not hold."""
    failures: Sequence[str]
    """Parts that ended by themselves or did not come back."""
    left: int
    """Messages that the broker kept."""
    longest_pause_seconds: float
    """The longest time in which there was work and none of it was done."""
    seconds: float

    @property
    def repeated(self) -> int:
        """Executions beyond the first of their key."""
        return len(self.executions) - len({(each.counter, each.key) for each in self.executions})

    def objections(self) -> list[str]:
        """What is wrong; nothing, if the cell passes."""
        found = [str(each) for each in self.stuck]
        found += self.expected.objections(self.executions)
        found += [
            f"run {run_id} answered {got} instead of {wanted}"
            for run_id, (got, wanted) in sorted(self.answers.items())
        ]
        found += [f"the database breaks a law: {law}" for law in self.broken]
        found += self.failures
        if self.left:
            found.append(f"the broker keeps {self.left} messages")
        return found

    def line(self) -> str:
        """In a few words, while others still run."""
        count = len(self.objections())
        verdict = "right" if not count else f"WRONG ({count})"
        faults = self.faults.total()
        return (
            f"{self.store} x {self.queue}: {verdict}; {self.runs} runs, {faults} faults, "
            f"{self.recovered} recovered, {self.repeated} repeated, "
            f"{self.longest_pause_seconds:.1f} s without progress, {self.seconds:.0f} s in all"
        )

    def row(self) -> str:
        """A row of the report."""
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        verdict = "right" if not self.objections() else f"**wrong ({len(self.objections())})**"
        cells = (self.store, self.queue, str(self.runs), faults or "none", str(self.recovered),
                 str(self.repeated), f"{self.longest_pause_seconds:.1f} s", verdict)  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEAD = """\
| store | queue | runs | faults | recovered runs | repeated executions \
| longest time without progress | verdict |
|---|---|---|---|---|---|---|---|"""
_SHOWN = 50


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The whole report; of each cell's objections the first ones."""
    seeds = ", ".join(str(seed) for seed in sorted({outcome.seed for outcome in outcomes}))
    lines = [f"# Chaos, seed {seeds}", "", HEAD, *(outcome.row() for outcome in outcomes)]
    for outcome in outcomes:
        objections = outcome.objections()
        if objections:
            lines += ["", f"## {outcome.store} x {outcome.queue}", ""]
            lines += [f"- {objection}" for objection in objections[:_SHOWN]]
        if len(objections) > _SHOWN:
            lines.append(f"- and {len(objections) - _SHOWN} more")
    return "\n".join(lines) + "\n"
