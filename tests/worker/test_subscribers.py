"""Subscribers: the behaviour suite over those of the box, and the pacing of each."""

from __future__ import annotations

import pytest

from aiki import AdaptivePolling, ConfigurationError, SimplePolling, Subscriber
from aiki.queue.pacing import Pacing
from aiki.testing import SubscriberBehaviour
from aiki.testing.subscribers import claims_of


class TestSimplePolling(SubscriberBehaviour):
    def make(self) -> Subscriber:
        return SimplePolling(poll_interval_ms=10)


class TestAdaptivePolling(SubscriberBehaviour):
    def make(self) -> Subscriber:
        return AdaptivePolling(min_poll_interval_ms=1, max_poll_interval_ms=20)


async def intervals(subscriber: Subscriber, *found: int) -> list[int]:
    waits = []
    for each in found:
        waits.append((await subscriber.next(10)).wait_ms)
        subscriber.learn(claims_of(each))
    return waits


async def test_simple_polling_has_one_interval_without_jitter() -> None:
    subscriber = SimplePolling(poll_interval_ms=250)
    assert set(await intervals(subscriber, *[0] * 50, *[3] * 50)) == {250}


async def test_simple_polling_looks_every_second_unless_told_otherwise() -> None:
    assert await intervals(SimplePolling(), 0) == [1_000]


async def test_adaptive_polling_backs_off_to_its_maximum() -> None:
    subscriber = AdaptivePolling(jitter=0.0)
    expected = [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]
    assert await intervals(subscriber, *[0] * 9) == expected


async def test_adaptive_polling_speeds_up_while_work_is_found() -> None:
    subscriber = AdaptivePolling(jitter=0.0)
    assert await intervals(subscriber, 0, 0, 0, 1, 1, 0, 0) == [50, 100, 200, 400, 50, 50, 100]


async def test_adaptive_polling_multiplies_by_the_factor_given() -> None:
    subscriber = AdaptivePolling(
        min_poll_interval_ms=10, max_poll_interval_ms=1_000, backoff_factor=3.0, jitter=0.0
    )
    assert await intervals(subscriber, 0, 0, 0, 0, 0, 0) == [10, 30, 90, 270, 810, 1_000]


async def test_a_hundred_workers_started_together_spread_over_the_interval() -> None:
    waits = [
        (await AdaptivePolling(min_poll_interval_ms=1_000).next(1)).wait_ms for _ in range(100)
    ]
    assert all(800 <= wait <= 1_200 for wait in waits)
    for begin in range(800, 1_200, 10):
        assert sum(begin <= wait < begin + 100 for wait in waits) < 60


@pytest.mark.parametrize(
    "options",
    [
        {"min_poll_interval_ms": 0},
        {"min_poll_interval_ms": 100, "max_poll_interval_ms": 50},
        {"backoff_factor": 0.5},
        {"jitter": 1.0},
        {"jitter": -0.1},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        AdaptivePolling(**options)  # type: ignore[arg-type]


def test_a_failing_server_is_asked_ever_less_often() -> None:
    pacing = Pacing(100, 30_000, spread=0.5, draw=lambda spread: 1.0)
    pauses = []
    for _ in range(10):
        pauses.append(pacing.pause_ms())
        pacing.empty()
    assert pauses == [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]
