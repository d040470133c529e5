"""The goals: bounds in units of the yardstick, for each way to run Aiki."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Goal(NamedTuple):
    """A bound in units of the yardstick, and which side of it is good."""

    text: str
    bound: Callable[[float], float]
    at_most: bool


def _milliseconds(units: float) -> Goal:
    return Goal(f"<= {units:g}/Y s", lambda y: units / y * 1000, True)


def _rate(units: float) -> Goal:
    return Goal(f">= {units:g} Y", lambda y: units * y, False)


def _seconds(bound: float) -> Goal:
    return Goal(f"<= {bound:g} s", lambda _: bound, True)


def _column(*units: float) -> dict[str, Goal]:
    w1, w2, w3, w4, singly, bulk = units
    return {
        "W1 p50": _milliseconds(w1),
        "W2": _milliseconds(w2),
        "W3": _rate(w3),
        "W4": _rate(w4),
        "W5 singly": _rate(singly),
        "W5 bulk": _rate(bulk),
        "W6 children": _seconds(0.25),
        "W6 steps": _seconds(0.08),
    }


GOALS: dict[tuple[str, str], dict[str, Goal]] = {
    ("sqlite", "embedded"): _column(6, 2, 0.8, 4, 0.6, 6),
    ("postgresql", "embedded"): _column(5, 1.6, 1.2, 6, 0.6, 8),
    ("postgresql", "separate"): _column(8, 3, 1, 6, 0.4, 6),
    ("postgresql", "redis"): _column(8, 3, 1, 6, 0.4, 6),
}
"""By store and topology; Y is the yardstick of the store."""
