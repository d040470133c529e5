"""What goes wrong on the way is one of `aiki.errors`, in time, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from aiki.errors import (
    AikiError,
    IncompatiblePeer,
    InvalidRequest,
    LimitExceeded,
    ServerBusy,
    ServerUnreachable,
    ServiceError,
    Unauthorized,
)
from aiki.ids import new_id
from aiki.operations.catalog import GetServerInfo, ServerInfo
from aiki.operations.runs import GetRun, ListRuns, StartRuns
from aiki.remote.http import HttpApi
from aiki.wire.calls import MEDIA_TYPE, encode_answers
from tests.engine.support import start_of
from tests.remote.support import Served, Tally, api_of, happens, response, scripted, served

PROBLEM = "application/problem+json"
GOOD = encode_answers([(ServerInfo("0.1.0", 3, "sqlite", 1), None)])
QUICK = {"connect_seconds": 0.2, "answer_seconds": 0.3}


async def failure(*urls: str, **options: object) -> AikiError:
    """The error of one call to a server."""
    api = await api_of(*urls, **(QUICK | options))
    try:
        with pytest.raises(AikiError) as caught:
            await api.call(GetServerInfo())
    finally:
        await api.close()
    return caught.value


async def test_a_start_whose_answer_is_cut_off_happens_once(api: HttpApi, proxy: Tally) -> None:
    run = start_of()
    await api.call(GetServerInfo())
    proxy.cut_after(b"StartRuns")
    (started,) = await api.call(StartRuns(starts=(run,)))
    assert proxy.cuts == 1
    assert started.id == run.id
    assert len((await api.call(ListRuns())).runs) == 1


async def test_a_connection_that_was_closed_while_idle_is_not_used(
    api: HttpApi, proxy: Tally
) -> None:
    await api.call(GetServerInfo())
    proxy.cut()
    await api.call(GetServerInfo())
    assert proxy.accepted == 2


async def test_a_black_hole_ends_the_call_in_time_and_its_connection(
    proxy: Tally,
) -> None:
    api = await api_of(proxy.url, **QUICK)
    await asyncio.gather(*(api.call(GetServerInfo()) for _ in range(3)))
    proxy.black_hole()
    async with asyncio.timeout(5):
        with pytest.raises(ServerUnreachable, match=r"no answer within 0\.3 s"):
            await api.call(GetServerInfo())
    proxy.let_through()
    await happens(lambda: proxy.open == 0)
    await api.call(GetServerInfo())
    await api.close()


async def test_a_wait_in_a_black_hole_ends_after_its_time_and_a_margin(proxy: Tally) -> None:
    api = await api_of(proxy.url, **QUICK, longest_wait_ms=100)
    run = start_of()
    await api.call(StartRuns(starts=(run,)))
    proxy.black_hole()
    async with asyncio.timeout(5):
        with pytest.raises(ServerUnreachable):
            await api.call(GetRun(id=run.id, wait_ms=60_000))
    await api.close()


async def test_a_host_that_does_not_accept_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        async with asyncio.timeout(5):
            error = await failure(f"http://127.0.0.1:{address[1]}")
        for filler in fillers:
            filler.close()
    assert isinstance(error, ServerUnreachable)
    assert "no connection in time" in error.message


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    error = await failure(f"http://127.0.0.1:{port}")
    assert isinstance(error, ServerUnreachable)
    assert error.message == f"http://127.0.0.1:{port}: cannot connect: Connection refused"


GARBAGE = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half of the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half of the body": b"HTTP/1.1 200 OK\r\nContent-Type: application/msgpack\r\n"
    b"Content-Length: 100\r\n\r\n\x91",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nContent-Type: application/msgpack\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an odd length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a page": response(200, b"<html>Welcome</html>", kind="text/html"),
    "an error page": response(502, b"<html>Bad gateway</html>", kind="text/html"),
    "a page of a proxy": response(400, b"<html>Bad request</html>", kind="text/html"),
    "no msgpack": response(200, b"\xc1\xc1", kind=MEDIA_TYPE),
    "too few answers": response(200, encode_answers([]), kind=MEDIA_TYPE),
    "an answer to something else": response(200, encode_answers([("a", None)]), kind=MEDIA_TYPE),
    "compressed": response(200, b"\x1f\x8b", "Content-Encoding: gzip", kind=MEDIA_TYPE),
    "another path": response(404, b"{}", kind="application/json"),
    "a broken problem": response(503, b"{", kind=PROBLEM),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_a_server_that_cannot_be_reached(garbage: bytes) -> None:
    async with scripted(garbage) as url:
        error = await failure(url)
    assert isinstance(error, ServerUnreachable)
    assert error.message.startswith(url)
    assert "Traceback" not in error.message
    assert "<html>" not in error.message


async def test_the_next_call_after_garbage_is_answered() -> None:
    good = response(200, GOOD, kind=MEDIA_TYPE)
    async with scripted(GARBAGE["a page"], good) as url:
        api = await api_of(url, **QUICK)
        with pytest.raises(ServerUnreachable):
            await api.call(GetServerInfo())
        assert (await api.call(GetServerInfo())).store == "sqlite"
        await api.close()


def problem(status: int, detail: str, *headers: str) -> bytes:
    return response(status, b'{"detail": "%s"}' % detail.encode(), *headers, kind=PROBLEM)


REFUSED = [
    (problem(401, "no such token"), Unauthorized, "no such token"),
    (problem(403, "not yours"), Unauthorized, "not yours"),
    (problem(400, "this is no message"), InvalidRequest, "this is no message"),
    (problem(413, "too large"), LimitExceeded, "too large"),
    (problem(429, "too much"), ServerBusy, "too much"),
    (problem(503, "starting"), ServerBusy, "starting"),
    (problem(500, "see the log"), ServerUnreachable, "see the log"),
    (response(302, b"", "Location: https://x/"), ServerUnreachable, "redirects to https://x/"),
]


@pytest.mark.parametrize(("answer", "kind", "text"), REFUSED)
async def test_a_refusal_has_its_class_and_its_detail(
    answer: bytes, kind: type[AikiError], text: str
) -> None:
    async with scripted(answer) as url:
        error = await failure(url)
    assert type(error) is kind
    assert url in error.message
    assert text in error.message


async def test_an_incompatible_peer_is_told_with_both_versions() -> None:
    answer = problem(426, "bring both up to date", "Aiki-Version: 9.8.7", "Aiki-Protocol: 42")
    async with scripted(answer) as url:
        error = await failure(url)
    assert type(error) is IncompatiblePeer
    assert "Aiki 9.8.7 with protocol 42" in error.message
    assert "this is Aiki 0.1.0 with protocol 1" in error.message


async def test_a_server_says_how_long_it_wants_to_be_left_alone() -> None:
    for given, seconds in (("3", 3.0), ("1e9", 60.0), ("soon", 0.0), ("-1", 0.0)):
        async with scripted(problem(503, "busy", f"Retry-After: {given}")) as url:
            error = await failure(url)
        assert isinstance(error, ServiceError)
        assert error.retry_after_seconds == seconds


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/msgpack\r\n\r\n"
    async with scripted(head + b"\x91" * 1_000_000) as url:
        error = await failure(url, answer_bytes=1_000)
    assert type(error) is LimitExceeded


async def test_a_token_lets_in_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", tokens=("right",)) as server:
        api = await api_of(server.url, token="right")
        await api.call(GetServerInfo())
        await api.close()
        for token in ("wrong", None):
            error = await failure(server.url, token=token)
            assert type(error) is Unauthorized
            assert "right" not in error.message


async def test_namespaces_in_any_letters_are_kept_apart(server: Served) -> None:
    run = start_of()
    for namespace in ("東京", "münchen", "default"):
        api = await api_of(server.url, namespace=namespace)
        mine = start_of()
        await api.call(StartRuns(starts=(mine,)))
        (found,) = (await api.call(ListRuns())).runs
        assert (found.id, found.namespace) == (mine.id, namespace)
        with pytest.raises(AikiError):
            await api.call(GetRun(id=run.id))
        await api.close()


async def test_proxies_of_the_environment_are_ignored(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    api = await api_of(server.url)
    await api.call(GetServerInfo())
    await api.close()
    error = await failure(server.url, use_environment_proxies=True)
    assert type(error) is ServerUnreachable


async def test_a_call_that_is_repeated_by_hand_is_the_same_call(api: HttpApi) -> None:
    run, command = start_of(), new_id()
    first = await api.call(StartRuns(starts=(run,), command_id=command))
    again = await api.call(StartRuns(starts=(start_of(),), command_id=command))
    assert again == first
