"""Law: a server stops in order and in time, and says of itself what is true."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiki.clock import SYSTEM
from aiki.engine.daemons import wake_due
from aiki.operations.base import Operation
from aiki.operations.catalog import GetChanges, GetServerInfo
from aiki.operations.runs import GetRun
from aiki.operations.work import Listen
from aiki.server.serving import Server, ServerSettings, loop_factory
from tests.engine.support import claim_of, registration
from tests.server.support import LIMIT_SECONDS, House, holds

# Stopping


async def test_a_stop_answers_those_who_wait_as_if_their_time_were_over(house: House) -> None:
    run_id = await house.start_run(delay_ms=60_000)
    await house.calls(registration("w"))
    operations: list[Operation[Any]] = [
        GetRun(id=run_id, wait_ms=60_000),
        claim_of("w", wait_ms=60_000),
        Listen(incarnation="w", wait_ms=60_000, cursor=house.engine.news.cursor("w")),
        GetChanges(cursor=SYSTEM.wall() + 60_000, wait_ms=60_000),
    ]
    polls = [asyncio.create_task(house.calls(each)) for each in operations]
    polls.append(asyncio.create_task(house.calls(GetServerInfo(), *operations)))
    polls.append(asyncio.create_task(_over_route(house, f"runs/{run_id}?wait_ms=60000")))
    await holds(lambda: house.server.service.rooms.waiting.taken == len(polls))
    began = asyncio.get_running_loop().time()
    await house.stop(10_000)
    assert asyncio.get_running_loop().time() - began < 5
    (result,), (claims,), (news,), (changes,), together, (routed,) = await asyncio.gather(*polls)
    assert (result.run.status, claims.runs, news.facts, changes.changes) == (
        "scheduled",
        (),
        (),
        (),
    )
    assert not any(isinstance(answer, Exception) for answer in together)
    assert routed["run"]["status"] == "scheduled"


async def _over_route(house: House, path: str) -> list[Any]:
    return [(await house.get(path)).json]


async def test_a_claim_that_a_stop_answered_is_granted_nothing_afterwards(house: House) -> None:
    await house.calls(registration("w"))
    claim = asyncio.create_task(house.calls(claim_of("w", wait_ms=60_000)))
    await holds(lambda: house.server.service.rooms.waiting.taken == 1)
    run_id = await house.start_run(workflow="other")
    await house.stop()
    assert (await claim)[0].runs == ()
    assert not len(house.engine.claims)
    assert (await house.api.call(GetRun(id=run_id))).run.status == "queued"


async def test_a_stop_lets_a_running_request_finish(house: House) -> None:
    async with house.raw() as raw:
        body = b'{"workflow": "orders", "version": "1", "input": 1}'
        head = b"POST /api/v1/runs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        await raw.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
        await holds(lambda: house.server.service.rooms.running.taken == 1)
        stopping = asyncio.create_task(house.stop(10_000))
        await holds(lambda: house.server.service.stopping)
        await raw.send(body[5:])
        status, answer = await raw.answer()
        assert status == 201
        assert b"connection: close" in answer
        await stopping


async def test_a_stop_ends_in_time_whoever_dawdles(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async with house.raw() as raw:
        await raw.send(b"POST /api/v1/runs HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
                       b"Content-Type: application/json\r\n\r\n")  # fmt: skip
        await holds(lambda: house.server.service.rooms.running.taken == 1)
        began = asyncio.get_running_loop().time()
        with caplog.at_level(logging.WARNING):
            await house.stop(100)
        assert asyncio.get_running_loop().time() - began < 5
        assert "1 requests were not done in time" in caplog.text
        assert b" 503 " in await raw.closed()


async def test_nobody_gets_in_after_a_stop(house: House) -> None:
    await house.get("/healthz")
    await house.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await house.get("/healthz")
    await house.stop()


async def test_other_listeners_start_and_stop_with_the_server(tmp_path: Path) -> None:
    class Other:
        events: list[str]

        def __init__(self) -> None:
            self.events = []

        async def start(self) -> None:
            self.events.append("start")

        async def stop(self, grace_ms: int) -> None:
            self.events.append(f"stop {grace_ms}")

    async with House(tmp_path / "a.db") as house:
        other = Other()
        server = Server(house.engine, ServerSettings(port=0), listeners=[other])
        await server.start()
        await server.stop(7)
        assert other.events == ["start", "stop 7"]


async def test_a_socket_that_listens_already_is_used(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    async with House(tmp_path / "a.db") as house:
        server = Server(house.engine)
        await server.start(listening)
        try:
            assert server.url == f"http://127.0.0.1:{port}"
            async with house.http.get(f"{server.url}/healthz") as response:
                assert response.status == 200
        finally:
            await server.stop(1_000)


async def test_processes_may_share_a_port(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", reuse_port=True) as house:
        settings = ServerSettings(port=house.address[1], reuse_port=True)
        other = Server(house.engine, settings)
        await other.start()
        await other.stop()
        with pytest.raises(OSError, match="in use"):
            await Server(house.engine, ServerSettings(port=house.address[1])).start()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for loopback, and its key."""
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(key), "-out", str(made),
    ]  # fmt: skip
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    subprocess.run(command, check=True, capture_output=True)
    return made, key


async def test_it_speaks_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with House(tmp_path / "a.db") as house:
        server = Server(house.engine, ServerSettings(port=0), tls=tls)
        await server.start()
        try:
            assert server.url.startswith("https://127.0.0.1:")
            async with house.http.get(f"{server.url}/version", ssl=trusting) as response:
                assert response.status == 200
        finally:
            await server.stop(1_000)


def test_it_runs_on_the_loop_that_suits_it_best(tmp_path: Path) -> None:
    """Whatever is tested on the usual loop holds on the fast one."""

    async def live() -> None:
        async with House(tmp_path / "a.db") as house:
            run_id = await house.start_run()
            poll = asyncio.create_task(house.get(f"runs/{run_id}?wait_ms=60000"))
            await holds(lambda: house.server.service.rooms.waiting.taken == 1)
            watch = house.server._watch
            assert watch is not None
            accepted = watch.connections[0].transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            await house.stop()
            assert (await poll).status == 200

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(live())


# Health


async def test_a_server_that_answers_is_ready(house: House) -> None:
    ready = await house.get("/readyz")
    assert (ready.status, ready.json["ready"]) == (200, True)
    assert ready.json["schema_version"] == house.engine.store.schema_version
    assert ready.headers["cache-control"] == "no-store"
    assert (await house.get("/healthz")).json["alive"] is True
    assert (await house.get("/version")).json["version"]
    assert (await house.get("/version")).json.keys() == (await house.get("version")).json.keys()


async def test_a_server_whose_database_is_gone_is_alive_but_not_ready(house: House) -> None:
    await house.engine.store.close()
    ready = await house.get("/readyz")
    assert (ready.status, ready.json["database"], ready.json["ready"]) == (503, False, False)
    assert str(house.path) not in ready.body.decode()
    assert (await house.get("/healthz")).status == 200
    assert (await house.get("runs")).status in (500, 503)
    await house.engine.store.open()
    assert (await house.get("/readyz")).status == 200


async def test_a_server_whose_parts_have_ended_is_not_ready(house: House) -> None:
    await house.engine.daemons.stop()
    ready = await house.get("/readyz")
    assert (ready.status, ready.json["daemons"], ready.json["committer"]) == (503, False, True)


async def test_a_server_that_stops_is_not_ready(house: House) -> None:
    async with house.raw() as raw:
        await raw.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n")
        watch = house.server._watch
        assert watch is not None
        await holds(lambda: any(each._phase == "head" for each in watch.connections))
        house.server.service.close()
        await raw.send(b"\r\n")
        assert (await raw.answer())[0] == 503


async def test_a_scheduled_run_is_answered_by_the_commit_that_wakes_it(house: House) -> None:
    run_id = await house.start_run(delay_ms=60_000)
    poll = asyncio.create_task(house.get(f"runs/{run_id}?wait_ms=60000&after_revision=0"))
    await holds(lambda: house.server.service.rooms.waiting.taken == 1)
    await house.engine.store.shift_clock(60_000)
    await wake_due(house.engine)
    async with asyncio.timeout(LIMIT_SECONDS):
        assert (await poll).json["run"]["status"] == "queued"


def test_the_server_needs_no_worker_and_no_grpc() -> None:
    program = (
        "import sys, aiki.server.serving; "
        "print([name for name in sys.modules if name.startswith(('grpc', 'aiki.worker', "
        "'aiki.workflow', 'aiki.client', 'asyncpg', 'asyncmy'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_who_is_accepted_while_the_listener_closes_is_not_left_behind(house: House) -> None:
    """CPython 3.11 forgets a connection between its acceptance and the first call of its protocol.

    Its socket would stay open until it is collected as garbage, which fails the test.
    """
    clients = [socket.socket() for _ in range(3)]
    for client in clients:
        client.connect(house.server._address)  # type: ignore[arg-type]
    # One turn accepts them, the next one would begin to talk to them.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await house.stop(1_000)
    gc.collect()
    for client in clients:
        client.settimeout(LIMIT_SECONDS)
        assert await asyncio.to_thread(client.recv, 1) == b""
        client.close()
