"""Several servers on one database stand in for each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiki.errors import ConfigurationError, ServerBusy, ServerUnreachable
from aiki.ids import new_id
from aiki.operations.catalog import GetServerInfo
from aiki.operations.runs import CancelRun, GetRun, ListRuns, StartRuns
from aiki.remote.servers import Server, Servers, parse_urls
from tests.engine.support import start_of
from tests.remote.support import Tally, api_of, client_of, happens, response, scripted, served

DEAD = "http://127.0.0.1:1"
QUICK = {"connect_seconds": 0.2, "answer_seconds": 0.3}


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> int:
        return 0


async def test_calls_go_on_at_another_server_and_return(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        api = await api_of(f"{first.url},{second.url}")
        runs = [start_of() for _ in range(4)]
        for run, change in zip(
            runs, (first.stop, first.start, second.stop, second.start), strict=True
        ):
            await api.call(StartRuns(starts=(run,)))
            await change()
        found = (await api.call(ListRuns())).runs
        assert {run.id for run in found} == {run.id for run in runs}
        await api.close()


async def test_a_wait_goes_on_at_another_server(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        async with client_of(first.url, second.url) as client, Tally.to_port(first.port) as proxy:
            api = await api_of(proxy.url, second.url)
            run = start_of()
            await client.call(StartRuns(starts=(run,)))
            waiting = asyncio.create_task(api.call(GetRun(id=run.id, wait_ms=60_000)))
            await happens(lambda: len(first.engine.runs))
            proxy.away = True
            proxy.cut()
            await happens(lambda: len(second.engine.runs))
            await client.call(CancelRun(id=run.id, command_id=new_id()))
            assert (await waiting).ended
            await api.close()


async def test_an_answer_that_was_lost_is_fetched_from_another_server(tmp_path: Path) -> None:
    """The first server commits, and is cut off; the second says what became of it."""
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        async with Tally.to_port(first.port) as proxy:
            api = await api_of(proxy.url, second.url, **QUICK)
            run = start_of()
            await api.call(GetServerInfo())
            proxy.black_hole()
            (started,) = await api.call(StartRuns(starts=(run,)))
            assert started.id == run.id
            proxy.let_through()
            assert len((await api.call(ListRuns())).runs) == 1
            await api.close()


async def test_a_black_hole_is_left_out_after_one_call(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        async with Tally.to_port(first.port) as proxy:
            api = await api_of(proxy.url, second.url, **QUICK)
            await api.call(GetServerInfo())
            proxy.black_hole()
            async with asyncio.timeout(2):
                for _ in range(20):
                    await api.call(GetServerInfo())
            assert proxy.requests == 2
            await api.close()


async def test_every_server_is_tried_before_the_error(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as alive:
        api = await api_of(DEAD, "http://127.0.0.1:2", alive.url)
        await asyncio.gather(*(api.call(GetServerInfo()) for _ in range(10)))
        await api.close()
    api = await api_of(DEAD, "http://127.0.0.1:2")
    with pytest.raises(ServerUnreachable) as caught:
        await api.call(GetServerInfo())
    assert DEAD in caught.value.message
    assert "http://127.0.0.1:2" in caught.value.message
    await api.close()


async def test_a_server_that_is_busy_leaves_its_work_to_another(tmp_path: Path) -> None:
    busy = response(503, b'{"detail": "full"}', "Retry-After: 2", kind="application/problem+json")
    async with scripted(busy) as full, served(tmp_path / "a.db") as idle:
        api = await api_of(full, idle.url)
        assert (await api.call(GetServerInfo())).protocol == 1
        await api.close()
        api = await api_of(DEAD, full)
        with pytest.raises(ServerBusy) as caught:
            await api.call(GetServerInfo())
        assert caught.value.retry_after_seconds == 2
        await api.close()


async def test_what_a_stopping_server_did_not_do_is_done_by_another(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        api = await api_of(first.url, second.url)
        await api.call(GetServerInfo())
        first.engine._closed = True
        run = start_of()
        answers = await asyncio.gather(
            api.call(StartRuns(starts=(run,))), *(api.call(GetServerInfo()) for _ in range(5))
        )
        assert answers[0][0].created
        first.engine._closed = False
        await api.close()


async def test_the_only_server_that_is_stopping_is_a_service_error(tmp_path: Path) -> None:
    """`Closed` would say that the client itself was closed, and would not be repeated."""
    async with served(tmp_path / "a.db") as only:
        api = await api_of(only.url)
        only.engine._closed = True
        with pytest.raises(ServerUnreachable, match="stopping"):
            await api.call(GetServerInfo())
        only.engine._closed = False
        await api.close()


def test_a_server_that_fails_is_left_out_for_growing_pauses() -> None:
    clock = HandClock()
    server = Server("http://a", clock)
    pauses = []
    for _ in range(10):
        server.failed()
        server.failed()
        pauses.append(server.out_seconds)
        clock.seconds += server.out_seconds
    for pause, expected in zip(pauses, (0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30), strict=True):
        assert expected / 2 <= pause <= expected * 1.5
    server.answered()
    assert server.out_seconds == 0
    server.failed()
    assert server.out_seconds <= 0.75


def test_the_server_in_use_comes_first_then_those_that_may_work() -> None:
    clock = HandClock()
    servers = Servers(["http://a", "http://b", "http://c"], clock)
    a, b, c = servers.all
    servers.use(b)
    assert list(servers.candidates()) == [b, a, c]
    b.failed()
    assert list(servers.candidates()) == [a, c, b]
    a.failed(20)
    assert list(servers.candidates()) == [c, b, a]


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        (["http://a:8080,b:8080"], ["http://a:8080", "http://b:8080"]),
        (["http://a", "https://b/x/"], ["http://a", "https://b/x"]),
        (["http://a,https://b"], ["http://a", "https://b"]),
        (["https://a,b", "https://b"], ["https://a", "https://b"]),
        (["http://[::1]:8080,[::2]:8080"], ["http://[::1]:8080", "http://[::2]:8080"]),
    ],
)
def test_urls_of_several_servers(given: list[str], urls: list[str]) -> None:
    assert parse_urls(given) == urls


@pytest.mark.parametrize(
    "url",
    [
        "http://", "http://a,,b", "http://a:x", "http://a:99999", "http://me:secret@a",
        "http://a?x=1", "http://a#x", "http://a,grpc://b",
    ],
)  # fmt: skip
def test_urls_that_name_no_server(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_urls([url])
    assert "secret" not in caught.value.message
