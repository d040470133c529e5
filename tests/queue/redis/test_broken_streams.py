"""Laws of streams that break: they hold up no other, and are caught up with once they work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from aiki.errors import QueueUnavailable
from aiki.queue.redis.command import Answer
from aiki.queue.redis.consumer import RedisConsumer
from tests.queue.redis.support import (
    AT_ONCE,
    MOMENT,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
)
from tests.services import redis as service


@pytest.fixture
def own() -> Iterator[service.RedisServer]:
    with service.private_server() as made:
        yield made


async def idle(reader: RedisConsumer) -> None:
    """Read until it waits at once, without a look."""
    for _ in range(3):
        assert (await reader.read(10)).deliveries == ()


def commands(raw: Any) -> int:
    return sum(counts["calls"] for counts in raw.info("commandstats").values())


async def test_something_else_in_the_place_of_a_stream_holds_up_no_idle_worker(
    own: service.RedisServer,
) -> None:
    raw = own.client()
    broken, *well = queues = [fresh() for _ in range(5)]
    async with (
        publisher(own.url) as sender,
        consumer(own.url, *queues, options=MOMENT) as reader,
    ):
        await idle(reader)
        together = raw.pipeline()
        together.delete(broken.key)
        together.set(broken.key, "no stream")
        together.execute()
        raw.config_resetstat()
        sent = [message for queue in well for message in messages(queue, 3)]
        await sender.publish(sent)
        assert sorted(ids(await collect(reader, len(sent)))) == sorted(ids(sent))
        assert commands(raw) < 100
        await idle(reader)
        assert commands(raw) < 200
        raw.delete(broken.key)
        healed = messages(broken, 1)
        await sender.publish(healed)
        assert ids(await collect(reader, 1)) == ids(healed)


async def test_rights_that_are_narrowed_to_some_streams_hold_up_none_of_these(
    own: service.RedisServer,
) -> None:
    raw = own.client()
    lost, *well = queues = [fresh() for _ in range(5)]
    raw.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all")
    url = own.url.replace("redis://", "redis://worker:secret@")
    async with publisher(own.url) as sender, consumer(url, *queues, options=MOMENT) as reader:
        await idle(reader)
        kept = [f"~{queue.key}" for queue in well]
        raw.execute_command("ACL", "SETUSER", "worker", "resetkeys", *kept)
        raw.config_resetstat()
        sent = [message for queue in well for message in messages(queue, 3)]
        await sender.publish([*sent, *messages(lost, 1)])
        assert sorted(ids(await collect(reader, len(sent)))) == sorted(ids(sent))
        assert commands(raw) < 100
        raw.execute_command("ACL", "SETUSER", "worker", "allkeys")
        await collect(reader, 1)


async def test_a_refusal_that_no_stream_explains_is_told(own: service.RedisServer) -> None:
    """Rights to each stream that are no rights to both together."""
    raw = own.client()
    queues = [fresh() for _ in range(2)]
    url = own.url.replace("redis://", "redis://worker:secret@")
    each = [f"(~{queue.key} +@all)" for queue in queues]
    raw.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "-@all", "+@connection", *each)
    async with publisher(own.url) as sender, consumer(url, *queues, options=MOMENT) as reader:
        with pytest.raises(QueueUnavailable, match="No permissions"):
            await idle(reader)
        sent = [message for queue in queues for message in messages(queue, 1)]
        await sender.publish(sent)
        assert sorted(ids(await collect(reader, 2))) == sorted(ids(sent))


async def test_more_is_settled_at_once_than_a_script_may_unpack(own: service.RedisServer) -> None:
    queue = fresh()
    async with publisher(own.url) as sender, consumer(own.url, queue) as reader:
        for _ in range(9):
            await sender.publish(messages(queue, 1_000))
        found = await collect(reader, 9_000, capacity=9_000)
        await reader.refresh(found)
        await reader.done(found)
    assert own.client().xlen(queue.key) == 0


async def test_where_nothing_lies_any_more_nothing_is_refreshed_or_settled(
    own: service.RedisServer,
) -> None:
    wiped, replaced = queues = [fresh() for _ in range(2)]
    raw = own.client()
    async with publisher(own.url) as sender, consumer(own.url, *queues) as reader:
        await sender.publish([message for queue in queues for message in messages(queue, 1)])
        found = await collect(reader, 2)
        raw.flushall()
        await reader.refresh(found)
        raw.set(replaced.key, "no stream")
        await reader.refresh(found)
        await reader.done(found)
        sent = messages(wiped, 1)
        await sender.publish(sent)
        assert ids(await collect(reader, 1)) == ids(sent)


async def test_what_one_stream_refuses_is_settled_later_and_the_rest_at_once(
    own: service.RedisServer,
) -> None:
    lost, well = queues = [fresh() for _ in range(2)]
    raw = own.client()
    raw.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all")
    url = own.url.replace("redis://", "redis://worker:secret@")
    async with publisher(own.url) as sender, consumer(url, *queues, options=MOMENT) as reader:
        await sender.publish([message for queue in queues for message in messages(queue, 2)])
        held = await collect(reader, 4)
        raw.execute_command("ACL", "SETUSER", "worker", "resetkeys", f"~{well.key}")
        await reader.done(held)
        assert (raw.xlen(lost.key), raw.xlen(well.key)) == (2, 0)
        raw.execute_command("ACL", "SETUSER", "worker", "allkeys")
        while raw.xlen(lost.key):
            assert (await reader.read(5)).deliveries == ()


async def test_what_was_swept_before_it_came_is_told_to_nobody(own: service.RedisServer) -> None:
    queue = fresh()
    raw = own.client()

    async def live(run_ids: Sequence[str]) -> set[str]:
        return set()

    async with publisher(own.url) as sender:
        async with consumer(own.url, queue, options=MOMENT, name="me") as reader:
            await idle(reader)
            await sender.publish(messages(queue, 3))
            # As a read does whose connection ends before its answer has come.
            raw.xreadgroup("workers@1", "me", {queue.key: ">"})
            assert await sender.sweep(live) == 3
            reader._doubtful.update(reader._streams)
            batch = await reader.read(5)
            assert (batch.deliveries, batch.refused) == ((), ())
            assert raw.xpending(queue.key, "workers@1")["pending"] == 0


@pytest.mark.parametrize("program", [service.valkey_program, service.debian_program])
async def test_what_was_swept_from_a_dead_worker_keeps_nobody_from_the_rest(program: Any) -> None:
    queue = fresh()

    async def live(run_ids: Sequence[str]) -> set[str]:
        return set(ids(rest)) & set(run_ids)

    with service.private_server(program=program()) as own:
        raw = own.client()
        async with publisher(own.url) as sender:
            async with consumer(own.url, queue, options=MOMENT, name="dead") as dead:
                rest = messages(queue, 1)
                await sender.publish([*messages(queue, 5), *rest])
                await collect(dead, 6)
            assert await sender.sweep(live) == 5
            async with consumer(own.url, queue, options=AT_ONCE) as alive:
                assert ids(await collect(alive, 1, capacity=1)) == ids(rest)
                assert raw.xpending(queue.key, "workers@1")["pending"] == 1


async def test_a_read_that_is_lost_while_a_worker_becomes_full_is_read_again(
    own: service.RedisServer,
) -> None:
    queue = fresh()
    raw = own.client()
    async with (
        publisher(own.url) as sender,
        consumer(own.url, queue, versions=("1", "2"), options=MOMENT, name="me") as reader,
    ):
        await idle(reader)
        sent, lost = messages(queue, 1, "1"), messages(queue, 1, "2")
        await sender.publish([*sent, *lost])
        raw.xreadgroup("workers@2", "me", {queue.key: ">"})

        async def lose() -> Answer:
            raise QueueUnavailable("lost")

        await reader._end_waiting()
        reader._doubtful.clear()
        second = next(stream for stream in reader._streams if stream.version == "2")
        # It has not failed yet when the next read begins, which finds a message by a look.
        reader._waiting[asyncio.create_task(lose())] = (second,)
        found = list((await reader.read(1)).deliveries)
        found += await collect(reader, 2 - len(found))
        assert sorted(ids(found)) == sorted(ids([*lost, *sent]))


async def test_whoever_leaves_hands_over_everything(own: service.RedisServer) -> None:
    queue = fresh()
    async with publisher(own.url) as sender:
        for _ in range(3):
            await sender.publish(messages(queue, 1_000))
        async with consumer(own.url, queue, name="leaving") as leaving:
            await collect(leaving, 3_000, capacity=3_000)
        left = own.client().xpending(queue.key, "workers@1")["consumers"]
        assert left == [{"name": "nobody", "pending": 3_000}]
