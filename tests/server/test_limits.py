"""Law: what is too large, too many or too slow is refused, and the server goes on."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiki.ids import new_id
from aiki.operations.runs import GetRun, StartRun, StartRuns
from tests.engine.support import claim_of, registration
from tests.server.support import House, Raw, holds

JSON = {"Content-Type": "application/json"}
KIB = 1024
HEAD = b"POST /api/v1/runs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


def _small(path: Path, **settings: Any) -> House:
    return House(path / "a.db", max_body_bytes=64 * KIB, free_inflation_bytes=KIB, **settings)


async def _goes_on(house: House) -> None:
    assert (await house.get("version")).status == 200
    assert house.server.service.rooms.running.taken == 0


# Sizes


async def test_a_body_is_refused_by_its_announced_length(tmp_path: Path) -> None:
    async with _small(tmp_path) as house, house.raw() as raw:
        await raw.send(HEAD + b"Content-Length: 65537\r\n\r\n")
        status, head = await raw.answer()
        assert status == 413
        assert b"application/problem+json" in head
        await _goes_on(house)


async def test_a_body_without_a_length_is_refused_while_it_arrives(tmp_path: Path) -> None:
    async with _small(tmp_path) as house, house.raw() as raw:
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        await raw.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"1\r\n \r\n")
        assert (await raw.answer())[0] == 413
        await _goes_on(house)


async def test_whoever_goes_on_sending_a_refused_body_is_cut_off(tmp_path: Path) -> None:
    async with _small(tmp_path) as house, house.raw() as raw:
        await raw.send(HEAD + b"Content-Length: 999999999\r\n\r\n")
        sending = asyncio.create_task(_send_for_ever(raw))
        await raw.closed()
        await asyncio.wait({sending}, timeout=20)
        assert isinstance(sending.exception(), ConnectionError)
        await _goes_on(house)


async def _send_for_ever(raw: Raw) -> None:
    while True:
        await raw.send(b" " * 65_536)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b" " * (64 * KIB + 1)), 413),
        (gzip.compress(b" " * (32 * KIB)), 413),
        (gzip.compress(b" " * KIB), 400),
        (gzip.compress(b"{}") + b"more", 400),
        (gzip.compress(b'{"a": "bcdefgh"}')[:-4], 400),
        (zlib.compress(b"{}"), 400),
    ],
    ids=["too large", "too dense", "only blanks", "followed", "cut off", "not gzip"],
)
async def test_a_compressed_body_has_limits(tmp_path: Path, body: bytes, status: int) -> None:
    async with _small(tmp_path, max_inflation=20) as house:
        headers = JSON | {"Content-Encoding": "gzip"}
        response = await house.request("POST", "runs", data=body, headers=headers)
        assert response.status == status, response
        await _goes_on(house)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("[" * 62 + "]" * 62, 201),
        ("[" * 100 + "]" * 100, 400),
        ('"' + "[" * 1_000 + '"', 201),
        ('"\\"' + "[" * 1_000 + '"', 201),
        ("[[],{}," * 30 + "1" + "]" * 30, 201),
        ('{"a":' * 80 + "1" + "}" * 80, 400),
    ],
    ids=["deep enough", "too deep", "in a text", "after a quote", "wide", "objects"],
)
async def test_depth_is_counted_outside_of_texts(house: House, value: str, status: int) -> None:
    body = '{"workflow": "orders", "version": "1", "input": ' + value + "}"
    response = await house.request("POST", "runs", data=body.encode(), headers=JSON)
    assert response.status == status, response


async def test_a_payload_that_is_too_large_to_keep_is_refused(house: House) -> None:
    body = b'{"workflow": "orders", "version": "1", "input": "' + b"x" * (2 * KIB * KIB) + b'"}'
    response = await house.request("POST", "runs", data=io.BytesIO(body), headers=JSON)
    assert (response.status, response.kind) == (422, "limit-exceeded")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 99_000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 99_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
async def test_a_head_that_cannot_be_taken_is_refused(
    house: House, head: bytes, status: int
) -> None:
    async with house.raw() as raw:
        await raw.send(head)
        assert (await raw.answer())[0] == status
        await raw.closed()
    await _goes_on(house)


async def test_an_offer_to_speak_another_protocol_is_not_taken(house: House) -> None:
    async with house.raw() as raw:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        await raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n")
        assert (await raw.answer())[0] == 200
    await _goes_on(house)


# Numbers


async def test_waiting_requests_have_a_limit_of_their_own(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", max_waiting=2, max_requests=1) as house:
        run_id = await house.start_run()
        polls = [_poll(house, run_id) for _ in range(2)]
        await holds(lambda: house.server.service.rooms.waiting.taken == 2)
        refused = await house.get(f"runs/{run_id}?wait_ms=60000")
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        await house.post(f"runs/{run_id}/terminate")
        assert [(await poll).status for poll in polls] == [200, 200]
        await _goes_on(house)


def _poll(house: House, run_id: str) -> asyncio.Task[Any]:
    return asyncio.create_task(house.get(f"runs/{run_id}?wait_ms=60000"))


async def test_a_client_that_leaves_frees_its_place(house: House) -> None:
    run_id = await house.start_run()
    waiting = house.server.service.rooms.waiting
    for kind in (_poll, _call):
        poll = kind(house, run_id)
        await holds(lambda: waiting.taken == 1)
        poll.cancel()
        await holds(lambda: waiting.taken == 0)


def _call(house: House, run_id: str) -> asyncio.Task[Any]:
    return asyncio.create_task(house.calls(GetRun(id=run_id, wait_ms=60_000)))


async def test_a_claim_whose_client_left_is_granted_nothing(house: House) -> None:
    for incarnation in ("gone", "other"):
        await house.calls(registration(incarnation))
    claim = asyncio.create_task(house.calls(claim_of("gone", wait_ms=60_000)))
    await holds(lambda: len(house.engine.claims))
    claim.cancel()
    await holds(lambda: house.server.service.abandoned == 1)
    run_id = await house.start_run()
    (claims,) = await house.calls(claim_of("other"))
    assert [run.id for run in claims.runs] == [run_id]


async def test_requests_in_flight_have_a_limit_and_health_has_none(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", max_requests=1) as house, house.raw() as raw:
        await raw.send(HEAD + b"Content-Length: 2\r\n\r\n{")
        await holds(lambda: house.server.service.rooms.running.taken == 1)
        refused = await house.get("version")
        assert (refused.status, refused.kind) == (503, "service-unavailable")
        assert "retry-after" in refused.headers
        assert (await house.get("/healthz")).status == 200
        await raw.send(b"}")
        assert (await raw.answer())[0] == 422
        await _goes_on(house)


async def test_streams_and_presences_are_counted_apart(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", max_streams=1, max_presences=1) as house:
        for path in ("stream", "workers/w/presence?number=1"):
            async with house.http.get(f"/api/v1/{path}") as opened:
                assert opened.status == 200
                assert (await house.get(path)).status == 429
            await holds(lambda: not _open(house))


def _open(house: House) -> int:
    rooms = house.server.service.rooms
    return rooms.streams.taken + rooms.presences.taken


async def test_connections_have_a_limit(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", max_connections=1) as house, house.raw() as first:
        await first.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await first.answer())[0] == 200
        async with house.raw() as second:
            assert (await second.answer())[0] == 503
            await second.closed()


async def test_requests_that_pile_up_in_one_connection_are_refused(house: House) -> None:
    run_id = await house.start_run()
    async with house.raw() as raw:
        poll = f"GET /api/v1/runs/{run_id}?wait_ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        await raw.send(poll * 100)
        assert b" 429 " in await raw.closed()
    await holds(lambda: house.server.service.rooms.waiting.taken == 0)


async def test_whoever_leaves_with_requests_in_the_queue_frees_its_place(house: House) -> None:
    run_id = await house.start_run()
    async with house.raw() as raw:
        poll = f"GET /api/v1/runs/{run_id}?wait_ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        await raw.send(poll * 3)
        await holds(lambda: house.server.service.rooms.waiting.taken == 1)
    await holds(lambda: house.server.service.rooms.waiting.taken == 0)


async def test_a_wait_is_no_longer_than_the_server_allows(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", max_wait_ms=20) as house:
        run_id = await house.start_run()
        response = await house.get(f"runs/{run_id}?wait_ms=9007199254740991")
        assert response.json["run"]["status"] == "queued"
        (result,) = await house.calls(GetRun(id=run_id, wait_ms=10**18))
        assert result.run.status == "queued"


# Slow peers


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[House]:
    """A server that waits for nobody."""
    house = House(
        tmp_path / "a.db",
        header_timeout_ms=200,
        body_timeout_ms=200,
        keep_alive_ms=200,
        write_timeout_ms=200,
    )
    async with house:
        yield house


async def test_a_connection_that_says_nothing_is_closed(hasty: House) -> None:
    async with hasty.raw() as raw:
        assert await raw.closed() == b""


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", HEAD + b"X: "])
async def test_a_head_that_never_ends_is_cut_off(hasty: House, start: bytes) -> None:
    async with hasty.raw() as raw:
        await raw.send(start)
        trickle = asyncio.create_task(_trickle(raw, b"X-A: b\r\n"))
        assert b" 408 " in await raw.closed()
        trickle.cancel()
    await _goes_on(hasty)


async def test_blank_lines_are_no_request(hasty: House) -> None:
    async with hasty.raw() as raw:
        trickle = asyncio.create_task(_trickle(raw, b"\r\n"))
        assert b" 200 " not in await raw.closed()
        trickle.cancel()


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_never_ends_is_cut_off(hasty: House, length: bytes) -> None:
    async with hasty.raw() as raw:
        await raw.send(HEAD + length + b"\r\n")
        assert b" 408 " in await raw.closed()
    await _goes_on(hasty)


async def _trickle(raw: Raw, part: bytes) -> None:
    """A peer that is as slow as it can be without falling silent."""
    while True:
        await raw.send(part)
        await asyncio.sleep(0.02)


async def test_an_idle_connection_is_closed(hasty: House) -> None:
    async with hasty.raw() as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await raw.answer())[0] == 200
        await raw.closed()


async def test_a_waiting_request_is_not_idle(hasty: House) -> None:
    """Deadlines are for peers that are slow, not for a server that has nothing to tell."""
    run_id = await hasty.start_run()
    response = await hasty.get(f"runs/{run_id}?wait_ms=1000")
    assert response.status == 200


async def test_whoever_does_not_read_its_answer_is_cut_off(hasty: House) -> None:
    text = b'"' + b"x" * 2 * 10**6 + b'"'
    for _ in range(4):
        start = StartRun(id=new_id(), workflow="orders", version="1.0", input=text)
        await hasty.api.call(StartRuns(starts=(start,)))
    await hasty.post(
        "workers", {"incarnation": "w", "name": "w", "lease_ms": 5_000, "workflows": []}
    )
    body = b'{"offers":[{"workflow":"orders","version":"1.0"}],"limit":10,"claim_id":"c"}'
    request = (
        b"POST /api/v1/workers/w/claims HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    reader = socket.create_connection(hasty.address)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    try:
        await asyncio.get_running_loop().sock_sendall(_unblocked(reader), request + body)
        state = hasty.server._watch
        assert state is not None
        await holds(lambda: any(each._blocked_since for each in state.connections))
        await holds(lambda: not any(each._blocked_since for each in state.connections))
    finally:
        reader.close()


def _unblocked(reader: socket.socket) -> socket.socket:
    reader.setblocking(False)
    return reader


async def test_the_kernel_looks_after_peers_that_vanish(tmp_path: Path) -> None:
    """Accepted connections inherit what was set for the listener."""
    async with House(tmp_path / "a.db", peer_timeout_ms=6_000) as house, house.raw():
        watch = house.server._watch
        assert watch is not None
        await holds(lambda: watch.connections)
        accepted = watch.connections[0].transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 6_000
