"""Laws of URLs that also say how fast and how much a subscriber or publisher asks."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import aiki
from aiki.compose import publisher_for, subscriber_for
from aiki.errors import ConfigurationError
from aiki.queue.tuning import tuned


class Reader(NamedTuple):
    """What a subscriber was made with."""

    url: str
    batch: int | None
    share: float


def reader(url: str, *, batch: int | None = None, share: float = 0.5) -> Reader:
    return Reader(url, batch, share)


def writer(url: str, *, pause_ms: int = 5) -> tuple[str, int]:
    return url, pause_ms


def test_options_go_to_whom_they_belong_and_the_rest_stays_in_the_url() -> None:
    url = "redis://me:a%2Fb@host:1/2?prefix=shop%3A&batch=7&pause_ms=9&share=0.25"
    rest = "redis://me:a%2Fb@host:1/2?prefix=shop%3A"
    assert tuned(url, reader, writer) == Reader(rest, 7, 0.25)
    assert tuned(url, writer, reader) == (rest, 9)


@pytest.mark.parametrize("url", ["redis://h/0?prefix=a:b", "amqp://h/%2F", "redis://h,i?ssl_ca="])
def test_a_url_without_such_options_stays_as_it_is(url: str) -> None:
    assert tuned(url, reader, writer) == Reader(url, None, 0.5)


@pytest.mark.parametrize("value", ["", "x", "1.5", "nan", "1_0x"])
def test_what_is_no_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match="batch="):
        tuned(f"redis://host?batch={value}", reader)


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_no_number_is_infinite(value: str) -> None:
    with pytest.raises(ConfigurationError, match="share="):
        tuned(f"redis://host?share={value}", reader)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://host?claim_min_idle_time_ms=0", "claim_min_idle_time_ms=0"),
        ("redis://host?parallelism=20", "parallelism=20"),
        ("redis+cluster://host?block_time_ms=soon", "block_time_ms='soon'"),
        ("redis://host?block_time=5", "option 'block_time'"),
        ("amqp://host?prefetch=0", "prefetch=0"),
        ("polling:eager", "polling:simple or polling:adaptive"),
        ("polling:simple?max_poll_interval_ms=5", "known are poll_interval_ms"),
        ("polling:adaptive?jitter=much", "jitter='much'"),
    ],
)
def test_a_mistake_in_an_option_is_told(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        subscriber_for(url)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (
            "redis://host?claim_min_idle_time_ms=9000&block_time_ms=100&max_retry_interval_ms=900"
            "&batch_size=5&max_connections=4&parallelism=2&timeout_ms=100&look_interval_ms=50"
            "&claim_interval_ms=70",
            aiki.RedisStreams,
        ),
        ("amqp://host?prefetch=5&wait_ms=10&timeout_ms=9&look_interval_ms=8", aiki.RabbitMQ),
        ("polling:simple?poll_interval_ms=100", aiki.SimplePolling),
        (
            "polling:adaptive?min_poll_interval_ms=1&max_poll_interval_ms=9&backoff_factor=1.5"
            "&jitter=0.1",
            aiki.AdaptivePolling,
        ),
    ],
)
def test_every_option_of_a_subscriber_may_stand_in_its_url(url: str, kind: type) -> None:
    assert isinstance(subscriber_for(url), kind)


@pytest.mark.parametrize("url", ["redis://host?block_time_ms=5", "amqp://host?prefetch=5"])
def test_a_server_takes_the_url_of_its_workers(url: str) -> None:
    publisher_for(url)


def test_a_server_cannot_announce_by_polling() -> None:
    with pytest.raises(ConfigurationError, match="a server needs a broker"):
        publisher_for("polling:simple")
