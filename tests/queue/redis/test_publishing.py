"""Laws of announcing: only what is provably gone is missing, only what is of no use is swept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aiki.errors import QueueUnavailable
from aiki.queue.message import Message
from aiki.queue.publisher import NOWHERE, Publication, Published
from aiki.queue.redis.publisher import RedisPublisher, unsuitable
from tests.queue.redis.support import collect, consumer, fresh, ids, messages, publisher
from tests.server.support import House
from tests.services import redis as service

redis = service.redis


@pytest.fixture
def url(redis: service.RedisServer) -> str:
    return redis.url


@pytest.fixture
def raw(redis: service.RedisServer) -> Any:
    return redis.client()


async def published(sender: RedisPublisher, sent: Sequence[Message]) -> list[Published]:
    return [Published(*pair) for pair in zip(sent, await sender.publish(sent), strict=True)]


async def test_what_lies_there_is_not_missing_however_late(url: str) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue) as reader:
        records = await published(sender, messages(queue, 3))
        assert await sender.missing(records) == []
        await collect(reader, 3)
        assert await sender.missing(records) == [], "a worker holds them"


async def test_exactly_the_deleted_are_missing(url: str, raw: Any) -> None:
    queue = fresh()
    async with publisher(url) as sender:
        records = await published(sender, messages(queue, 3))
        raw.xdel(queue.key, records[1].publication.entry)
        assert await sender.missing(records) == [records[1].message]


async def test_another_message_under_the_same_id_is_no_proof(url: str, raw: Any) -> None:
    """A server that lost the last writes and whose clock is behind gives ids anew."""
    queue = fresh()
    async with publisher(url) as sender:
        (lost,) = await published(sender, messages(queue, 1))
        raw.delete(queue.key)
        (other,) = messages(queue, 1)
        raw.xadd(queue.key, other.fields(), id=lost.publication.entry)
        assert await sender.missing([lost]) == [lost.message]


async def test_after_a_flush_everything_is_missing_also_for_another_server() -> None:
    queue = fresh()
    with service.private_server() as own:
        async with publisher(own.url) as one, publisher(own.url) as two:
            records = await published(one, messages(queue, 3))
            own.client().flushall()
            assert await two.missing(records) == [each.message for each in records]
            again = await published(two, messages(queue, 2))
            assert await one.missing([*records, *again]) == [each.message for each in records]
            assert await one.missing(again) == []


async def test_a_restart_without_a_memory_is_noticed(url: str) -> None:
    queue = fresh()
    async with publisher(url) as sender:
        (record,) = await published(sender, messages(queue, 1))
        elsewhere = Published(record.message, Publication(record.publication.entry, "other"))
        assert await sender.missing([elsewhere]) == [record.message]


async def test_where_no_incarnation_was_told_the_message_alone_decides(url: str, raw: Any) -> None:
    queue = fresh()
    async with publisher(url) as sender:
        records = [
            Published(each.message, Publication(each.publication.entry, ""))
            for each in await published(sender, messages(queue, 2))
        ]
        raw.xdel(queue.key, records[1].publication.entry)
        assert await sender.missing(records) == [records[1].message]


async def test_a_refused_message_counts_as_gone(url: str, raw: Any) -> None:
    broken, well = fresh(), fresh()
    raw.set(broken.key, "no stream")
    async with publisher(url) as sender:
        records = await published(sender, [*messages(broken, 1), *messages(well, 1)])
        assert await sender.missing(records) == [records[0].message]
        assert await sender.publish(messages(broken, 2)) == [NOWHERE, NOWHERE]


async def test_a_broker_without_room_takes_nothing_and_no_ping() -> None:
    with service.private_server() as server:
        async with publisher(server.url) as sender:
            await sender.ping()
            server.client().config_set("maxmemory", 1)
            with pytest.raises(QueueUnavailable, match="maxmemory"):
                await sender.publish(messages(fresh(), 2))
            with pytest.raises(QueueUnavailable, match="maxmemory"):
                await sender.ping()


async def test_sweeping_removes_exactly_what_is_neither_ready_nor_executed(url: str) -> None:
    queue = fresh()
    prefix = f"{url}?prefix={queue.workflow}:"
    sent = messages(queue, 1_700)
    living = {message.run_id for message in sent[::3]}

    async def live(run_ids: Sequence[str]) -> set[str]:
        assert len(run_ids) <= 500
        return living & set(run_ids)

    async with publisher(prefix) as sender, consumer(prefix, queue) as reader:
        await sender.publish(sent)
        assert await sender.sweep(live) == len(sent) - len(living)
        assert await sender.sweep(live) == 0
        found = await collect(reader, len(living), capacity=1_000)
        assert set(ids(found)) == living


async def test_sweeping_leaves_what_is_no_message_to_a_worker(url: str, raw: Any) -> None:
    queue = fresh()
    prefix = f"{queue.workflow}:"

    async def live(run_ids: Sequence[str]) -> set[str]:
        return set()

    async with publisher(f"{url}?prefix={prefix}") as sender:
        await sender.publish(messages(queue, 1))
        raw.xadd(prefix + queue.key, {"what": "is this"})
        assert await sender.sweep(live) == 1
        assert raw.xlen(prefix + queue.key) == 1


async def test_a_long_stream_is_swept_in_parts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiki.queue.redis.publisher._MOST_PAGES", 1)
    queue = fresh()
    sent = messages(queue, 1_200)
    asked: list[str] = []

    async def live(run_ids: Sequence[str]) -> set[str]:
        asked.extend(run_ids)
        return set(run_ids)

    async with publisher(f"{url}?prefix={queue.workflow}:") as sender:
        await sender.publish(sent)
        for _ in range(3):
            await sender.sweep(live)
    assert asked == ids(sent)


async def test_a_redis_that_may_evict_keys_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with service.private_server("maxmemory-policy allkeys-lru\n") as own:
        async with publisher(own.url):
            assert "set it to noeviction" in caplog.text
        caplog.clear()
    with service.private_server() as own:
        async with publisher(own.url):
            assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("version", "is_told"),
    [("6.2.14", True), ("7.0.15", False), ("7.2.4", False), ("8.0.1", False)],
)
def test_a_redis_that_is_too_old_is_warned_of(version: str, is_told: bool) -> None:
    found = unsuitable(f"# Server\r\nredis_version:{version}\r\nmaxmemory_policy:noeviction\r\n")
    assert [f"is of version {version}" in each for each in found] == [True] * is_told


@pytest.mark.parametrize("program", [service.valkey_program, service.debian_program])
async def test_a_redis_of_today_is_not_too_old(
    program: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with service.private_server(program=program()) as own:
        info = own.client().info("server")
        assert unsuitable(f"redis_version:{info['redis_version']}") == []
        async with publisher(own.url):
            assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_full_redis_is_told_and_nothing_breaks() -> None:
    queue = fresh()
    with service.private_server() as own:
        async with publisher(own.url) as sender, consumer(own.url, queue) as reader:
            await sender.publish(messages(queue, 2))
            held = await collect(reader, 2)
            own.client().config_set("maxmemory", "1")
            with pytest.raises(QueueUnavailable, match="memory"):
                await sender.publish(messages(queue, 1))
            own.client().config_set("maxmemory", "0")
            await reader.done(held)
            sent = messages(queue, 1)
            await sender.publish(sent)
            assert ids(await collect(reader, 1)) == ids(sent)


async def test_one_sweep_removes_all_that_nobody_needs(url: str, raw: Any, tmp_path: Path) -> None:
    """Workers that poll leave their messages behind."""
    queue = fresh()
    prefix = f"{queue.workflow}:"
    with_prefix = f"{url}?prefix={prefix}"
    async with publisher(with_prefix) as sender:
        for _ in range(12):
            await sender.publish(messages(queue, 1_000))
    # No loop of the server sweeps in this test.
    seldom = {"republish_interval_ms": 1_000_000, "sweep_interval_ms": 1_000_000}
    house = House(tmp_path / "x.db", engine=seldom, publisher=RedisPublisher(with_prefix))
    async with house:
        publishing = house.engine.publishing
        assert publishing is not None
        assert await publishing.sweep() == 12_000
    assert raw.xlen(prefix + queue.key) == 0
