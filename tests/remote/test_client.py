"""The client's patience: what it repeats, for how long, and what it does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import pytest

import aiki
from aiki.client.client import Client
from aiki.errors import (
    Closed,
    ConfigurationError,
    IncompatiblePeer,
    NotFound,
    ServerBusy,
    ServerUnreachable,
    ServiceError,
    StoreUnavailable,
    Unauthorized,
)
from aiki.operations.base import Api, Operation
from aiki.operations.catalog import GetServerInfo
from aiki.operations.runs import GetRun
from tests.remote.test_failover import HandClock

R = TypeVar("R")


class Failing:
    """A connection to what fails; time passes by hand."""

    def __init__(self, clock: HandClock, *errors: Exception) -> None:
        self.calls: list[float] = []
        self._clock = clock
        self._errors = errors

    async def open(self) -> Api:
        return self

    async def call(self, operation: Operation[R]) -> R:
        self.calls.append(self._clock.seconds)
        raise self._errors[min(len(self.calls), len(self._errors)) - 1]

    def fork(self) -> Api:
        return self

    async def keep_presence(self, incarnation: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """Whoever sleeps moves it."""
    clock = HandClock()

    async def sleep(seconds: float) -> None:
        clock.seconds += seconds

    monkeypatch.setattr("aiki.client.client.asyncio.sleep", sleep)
    return clock


async def pauses(
    clock: HandClock, *errors: Exception, operation: Operation[Any] | None = None, **options: Any
) -> list[float]:
    """The pauses between the tries of one call, which fails in the end with the last error."""
    api = Failing(clock, *errors)
    client = Client(api, clock=clock, **options)
    with pytest.raises(type(errors[-1])):
        await client.call(operation or GetServerInfo())
    return [later - sooner for sooner, later in zip(api.calls, api.calls[1:], strict=False)]


@pytest.mark.parametrize("kind", [ServerUnreachable, StoreUnavailable, ServerBusy, ServiceError])
async def test_the_services_trouble_is_repeated_for_half_a_minute(
    kind: type[ServiceError], clock: HandClock
) -> None:
    found = await pauses(clock, kind("why"))
    assert 25 < sum(found) <= 30
    assert all(0.02 < pause <= 3 for pause in found)
    assert found[0] < 0.1


async def test_the_time_for_it_is_chosen(clock: HandClock) -> None:
    assert sum(await pauses(clock, ServiceError("why"), timeout=timedelta(minutes=5))) > 290
    assert await pauses(clock, ServiceError("why"), timeout=timedelta(0)) == []


async def test_what_the_call_itself_waits_for_does_not_count(clock: HandClock) -> None:
    wait = GetRun(id="a", wait_ms=60_000)
    assert sum(await pauses(clock, ServiceError("why"), operation=wait)) > 80


async def test_no_pause_is_shorter_than_the_server_asks_for(clock: HandClock) -> None:
    busy = ServerBusy("why")
    busy.retry_after_seconds = 7
    assert await pauses(clock, busy) == [7, 7, 7, 7]


@pytest.mark.parametrize("kind", [NotFound, Unauthorized, IncompatiblePeer, Closed])
async def test_what_repeating_cannot_help_is_not_repeated(
    kind: type[Exception], clock: HandClock
) -> None:
    assert await pauses(clock, kind("why")) == []


async def test_an_ssl_context_is_for_https() -> None:
    import ssl

    context = ssl.create_default_context()
    assert aiki.connect("https://a", ssl_context=context).namespace == "default"
    with pytest.raises(ConfigurationError):
        aiki.connect("http://a", ssl_context=context)


def test_a_token_that_no_header_can_hold_is_refused() -> None:
    for token in ("", "a b", "a\r\nX: 1", "ä"):
        with pytest.raises(ConfigurationError) as caught:
            aiki.connect("http://a", token=token)
        assert token not in caught.value.message or not token
