"""Laws of trouble: a broker that is away, stopped, or short of memory is waited for in bounds."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from aiki.clock import SYSTEM
from aiki.errors import QueueUnavailable
from aiki.queue.publisher import Published
from tests.queue.rabbitmq.support import (
    LATE_SECONDS,
    collect,
    consumer,
    control,
    fresh,
    ids,
    messages,
    publisher,
    until_it_is_read,
)
from tests.services import rabbitmq as service
from tests.services.proxy import Proxy
from tests.services.server import free_port

rabbitmq = service.rabbitmq
SOON_MS = 1_000
SOON_SECONDS = 4.0
"""Within which a call of SOON_MS must have ended on a machine that is busy."""


@pytest.fixture(scope="module")
def node() -> Iterator[service.RabbitMq]:
    """One that these tests may stop."""
    with service.private_node() as running:
        yield running


async def unavailable_soon(call: Callable[[], Awaitable[object]]) -> str:
    """What it says; fails where it takes longer than it may."""
    begun = SYSTEM.monotonic()
    with pytest.raises(QueueUnavailable) as raised:
        await call()
    assert SYSTEM.monotonic() - begun < SOON_SECONDS
    return raised.value.message


async def until_it_works(call: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(LATE_SECONDS):
        while True:
            try:
                await call()
                return
            except QueueUnavailable:
                continue


async def test_a_broker_that_is_not_there_is_named_without_its_password() -> None:
    url = f"amqp://me:secret@127.0.0.1:{free_port()}/"
    stream = fresh()
    async with (
        publisher(url, SOON_MS) as sender,
        consumer(url, stream, timeout_ms=SOON_MS) as reader,
    ):
        for call in (
            sender.ping,
            lambda: sender.publish(messages(stream, 1)),
            lambda: reader.read(1),
        ):
            said = await unavailable_soon(call)
            assert "RabbitMQ 127.0.0.1:" in said
            assert "secret" not in said


async def test_a_wrong_password_is_trouble_in_time(rabbitmq: service.RabbitMq) -> None:
    async with publisher(rabbitmq.url.replace("guest:guest", "guest:no"), SOON_MS) as sender:
        assert "no'" not in await unavailable_soon(sender.ping)


async def test_a_broker_that_falls_silent_is_given_up_in_time_and_found_again(
    rabbitmq: service.RabbitMq,
) -> None:
    stream = fresh()
    async with Proxy.to_port(rabbitmq.port) as proxy:
        url = f"amqp://127.0.0.1:{proxy.port}/"
        async with (
            publisher(url, SOON_MS) as sender,
            consumer(url, stream, timeout_ms=SOON_MS) as reader,
        ):
            sent = messages(stream, 1)
            published = list(map(Published, sent, await sender.publish(sent)))
            held = (await reader.read(1)).deliveries
            proxy.black_hole()
            for call in (
                lambda: sender.publish(sent),
                lambda: sender.missing(published),
                sender.ping,
                lambda: reader.read(1),
                lambda: reader.read(1),
            ):
                await unavailable_soon(call)
            # What was held is void with its connection.
            await reader.granted(held)
            proxy.let_through()
            proxy.cut()
            await until_it_works(sender.ping)
            assert ids(await collect(reader, 1)) == ids(sent)


async def test_a_connection_that_is_cut_ends_a_waiting_read(rabbitmq: service.RabbitMq) -> None:
    stream = fresh()
    async with Proxy.to_port(rabbitmq.port) as proxy:
        url = f"amqp://127.0.0.1:{proxy.port}/"
        async with consumer(url, stream) as reader, publisher(rabbitmq.url) as sender:
            await sender.publish(messages(stream, 1))
            await collect(reader, 1)
            read = asyncio.create_task(reader.read(1))
            await until_it_is_read(rabbitmq.url, stream)
            proxy.cut()
            with pytest.raises(QueueUnavailable, match="lost"):
                await asyncio.wait_for(read, 15)
            sent = messages(stream, 1)
            await sender.publish(sent)
            assert ids(await collect(reader, 1)) == ids(sent)


async def test_a_waiting_read_ends_when_the_heartbeat_stops(rabbitmq: service.RabbitMq) -> None:
    stream = fresh()
    async with Proxy.to_port(rabbitmq.port) as proxy:
        url = f"amqp://127.0.0.1:{proxy.port}/?heartbeat_seconds=1"
        async with consumer(url, stream, wait_ms=10_000_000) as reader:
            read = asyncio.create_task(reader.read(1))
            await until_it_is_read(rabbitmq.url, stream)
            proxy.black_hole()
            with pytest.raises(QueueUnavailable, match="lost"):
                await asyncio.wait_for(read, LATE_SECONDS)


async def test_a_memory_alarm_stops_publishing_in_time_and_nothing_else(
    node: service.RabbitMq,
) -> None:
    stream = fresh()
    async with publisher(node.url, SOON_MS) as sender, consumer(node.url, stream) as reader:
        before = messages(stream, 1)
        await until_it_works(lambda: sender.publish(before))
        await control(node, "set_vm_memory_high_watermark", "0.0001")
        try:
            after = messages(stream, 1)
            await unavailable_soon(lambda: sender.publish(after))
            await unavailable_soon(lambda: sender.publish(after))
            assert before[0].run_id in ids(await collect(reader, 1))
        finally:
            await control(node, "set_vm_memory_high_watermark", "absolute", "1GiB")
        await until_it_works(lambda: sender.publish(after))
        assert after[0].run_id in ids(await collect(reader, 1))


async def test_a_node_that_is_stopped_and_started_is_found_again(node: service.RabbitMq) -> None:
    stream = fresh()
    async with (
        publisher(node.url, SOON_MS) as sender,
        consumer(node.url, stream, timeout_ms=SOON_MS) as reader,
    ):
        sent = messages(stream, 2)
        await until_it_works(lambda: sender.publish(sent[:1]))
        read = asyncio.create_task(reader.read(1))
        held = (await read).deliveries
        await control(node, "stop_app")
        try:
            await unavailable_soon(sender.ping)
            await unavailable_soon(lambda: reader.read(1))
        finally:
            await control(node, "start_app")
        await reader.granted(held)
        await until_it_works(lambda: sender.publish(sent[1:]))
        found: set[str] = set()

        async def receive() -> None:
            found.update(ids(await collect(reader, 1)))

        async with asyncio.timeout(LATE_SECONDS):
            while found != set(ids(sent)):
                await until_it_works(receive)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `localhost`, signed by itself; its key lies beside it."""
    made = tmp_path_factory.mktemp("certificate") / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(made.with_name("key.pem")), "-out", str(made)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return made


async def test_an_encrypted_connection_trusts_who_was_named(certificate: Path) -> None:
    port = free_port()
    settings = (
        f"listeners.ssl.local = 127.0.0.1:{port}\n"
        f"ssl_options.certfile = {certificate}\n"
        f"ssl_options.keyfile = {certificate.with_name('key.pem')}\n"
    )
    url = f"amqps://guest:guest@localhost:{port}/"
    stream = fresh()
    with service.private_node(settings):
        sent = messages(stream, 1)
        trusting = f"{url}?ssl_ca={certificate}"
        async with publisher(trusting) as sender, consumer(trusting, stream) as reader:
            await sender.publish(sent)
            assert ids(await collect(reader, 1)) == ids(sent)
        async with publisher(url) as sender:
            with pytest.raises(QueueUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await sender.ping()
        async with publisher(f"{url}?ssl=unverified") as sender:
            await sender.ping()
