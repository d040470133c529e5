"""Laws of trouble: killed, frozen, failed over, wiped; what is heard again, and what is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from aiki.errors import ConfigurationError, QueueUnavailable
from aiki.queue.publisher import Published
from tests.queue.redis.support import (
    LATE_SECONDS,
    MOMENT,
    OPTIONS,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
    until,
)
from tests.services import redis as service
from tests.services.server import freeze, server_pid


@pytest.fixture
def own() -> Iterator[service.RedisServer]:
    with service.private_server() as made:
        yield made


async def test_a_frozen_redis_is_told_in_time_and_goes_on_when_it_wakes(
    own: service.RedisServer,
) -> None:
    queue = fresh()
    options = MOMENT._replace(timeout_ms=300)
    async with publisher(own.url) as sender, consumer(own.url, queue, options=options) as reader:
        await reader.read(1)
        freeze(server_pid(own.data))
        try:
            async with asyncio.timeout(LATE_SECONDS):
                with pytest.raises(QueueUnavailable, match="no answer within"):
                    await reader.read(1)
        finally:
            os.kill(server_pid(own.data), signal.SIGCONT)
        sent = messages(queue, 3)
        await sender.publish(sent)
        assert ids(await collect(reader, 3)) == ids(sent)


async def test_a_dead_redis_is_told_at_once(own: service.RedisServer) -> None:
    queue = fresh()
    async with publisher(own.url) as sender, consumer(own.url, queue) as reader:
        read = asyncio.create_task(reader.read(1))
        await sender.publish(messages(fresh(), 1))
        own.client().client_kill_filter(_type="normal")
        os.kill(server_pid(own.data), signal.SIGKILL)
        async with asyncio.timeout(LATE_SECONDS):
            with pytest.raises(QueueUnavailable, match=str(own.port)):
                await read
            with pytest.raises(QueueUnavailable):
                await sender.publish(messages(queue, 1))
            with pytest.raises(QueueUnavailable):
                await sender.ping()


async def test_after_a_flush_under_load_everything_is_announced_again_and_heard(
    own: service.RedisServer,
) -> None:
    queue = fresh()
    sent = messages(queue, 200)
    options = MOMENT._replace(block_time_ms=50)
    heard: set[str] = set()
    async with publisher(own.url) as sender, consumer(own.url, queue, options=options) as reader:
        records = [Published(m, p) for m, p in zip(sent, await sender.publish(sent), strict=True)]

        async def receive() -> None:
            while not heard >= set(ids(sent)):
                with suppress(QueueUnavailable):
                    batch = (await reader.read(7)).deliveries
                    heard.update(ids(batch))

        async def flush() -> None:
            await until(lambda: len(heard) >= 50)
            own.client().flushall()
            gone = await sender.missing(records)
            assert gone == sent
            await sender.publish(gone)

        async with asyncio.timeout(LATE_SECONDS):
            await asyncio.gather(receive(), flush())


async def test_after_a_fail_over_that_lost_writes_these_are_missing_and_reading_goes_on() -> None:
    queue = fresh()
    with service.private_watched() as watched:
        options = MOMENT._replace(timeout_ms=1_000, block_time_ms=200)
        async with (
            publisher(watched.url) as sender,
            consumer(watched.url, queue, options=options) as reader,
        ):
            await sender.publish(messages(queue, 1))
            await reader.done(await collect(reader, 1))
            watched.master.client().wait(1, 5_000)
            # The replica hears nothing of what comes now.
            freeze(server_pid(watched.replica.data))
            watched.master.client().client_kill_filter(_type="replica")
            lost = messages(queue, 3)
            places = await sender.publish(lost)
            os.kill(server_pid(watched.master.data), signal.SIGKILL)
            os.kill(server_pid(watched.replica.data), signal.SIGCONT)
            records = [Published(m, p) for m, p in zip(lost, places, strict=True)]
            async with asyncio.timeout(LATE_SECONDS):
                while True:
                    with suppress(QueueUnavailable):
                        # The new master has to be one before it may be written to.
                        assert await sender.missing(records) == lost
                        await sender.publish(lost)
                        break
                    await asyncio.sleep(0.05)
                found: list[str] = []
                while len(found) < 3:
                    with suppress(QueueUnavailable):
                        found += ids((await reader.read(5)).deliveries)
                assert found == ids(lost)
            assert watched.replica.client().xlen(queue.key) == 3


# Encryption


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that speaks TLS alone, and the certificate of whoever signed its."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = (
        f"tls-port {{bus_port}}\ntls-cert-file {certificate}\ntls-key-file {key}\n"
        "tls-auth-clients no\n"
    )
    with service.private_server(settings, service.debian_program()) as own:
        yield f"rediss://127.0.0.1:{own.bus_port}/0", certificate


async def test_connections_are_encrypted_and_the_server_is_checked(
    encrypted: tuple[str, Path],
) -> None:
    url, certificate = encrypted
    queue = fresh()
    known = f"{url}?ssl_ca={certificate}"
    for trusted in (known, f"{url}?ssl=unverified"):
        async with publisher(trusted) as sender, consumer(trusted, queue) as reader:
            sent = messages(queue, 2)
            await sender.publish(sent)
            found = await collect(reader, 2)
            assert ids(found) == ids(sent)
            await reader.done(found)
    async with publisher(url) as sender:
        with pytest.raises(QueueUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await sender.publish(messages(queue, 1))


async def test_a_certificate_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        async with publisher(f"rediss://127.0.0.1:1/0?ssl_ca={tmp_path / 'none.pem'}"):
            pass


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="block_time_ms=0"):
        OPTIONS._replace(block_time_ms=0).checked()
    with pytest.raises(ConfigurationError, match="max_connections=2"):
        OPTIONS._replace(max_connections=2).checked()
