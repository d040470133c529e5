"""Laws of rights: what the documentation gives to workers and servers is enough, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aiki.errors import QueueUnavailable
from aiki.operations.work import RefusedMessage
from aiki.queue.consumer import Batch, Delivery
from aiki.queue.message import Queue
from aiki.queue.publisher import Published
from aiki.queue.redis.publisher import RedisPublisher
from tests.queue.redis.support import (
    MOMENT,
    collect,
    consumer,
    fresh,
    messages,
    publisher,
)
from tests.services import redis as service

_DOCUMENT = Path(__file__).parents[3] / "docs" / "queues.md"

EVERYWHERE = "the namespace default alone"


class Rights(NamedTuple):
    """A line of the documentation's table, with the users of its example."""

    worker: list[str]
    server: list[str]


def documented(place: str) -> Rights:
    """What the document gives where the table says so."""
    text = _DOCUMENT.read_text("utf-8")
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        # A bar that belongs to a cell is written with a backslash.
        cells = [re.sub(r"[`\\]", "", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4:
            rows[cells[0]] = cells[1:]
    worker_keys, server_keys, more = rows[place]
    if worker_keys == "as above":
        worker_keys, server_keys, _ = rows[EVERYWHERE]
    return Rights(
        _user(text, "worker", worker_keys, more), _user(text, "server", server_keys, more)
    )


def _user(text: str, name: str, keys: str, more: str) -> list[str]:
    found = re.search(rf"^user {name} (on .*(?:\n  .*)*)", text, re.MULTILINE)
    assert found is not None
    return f"{found.group(1)} {more}".replace("KEYS", keys).split()


def grant(nodes: Sequence[service.RedisServer], rights: Rights) -> None:
    for node in nodes:
        for name, words in rights._asdict().items():
            node.client().execute_command("ACL", "SETUSER", name, "reset", *words)


@pytest.fixture
def own() -> Iterator[service.RedisServer]:
    with service.private_server() as made:
        yield made


@pytest.mark.parametrize(
    ("place", "namespace", "prefix"),
    [
        (EVERYWHERE, "default", ""),
        ("workers of the namespace acme", "acme", ""),
        ("?prefix=shop:", "default", "shop:"),
        ("?prefix=shop:", "acme", "shop:"),
    ],
)
async def test_the_documented_rights_are_enough(
    own: service.RedisServer, place: str, namespace: str, prefix: str
) -> None:
    rights = documented(place)
    if namespace == "acme" and prefix:
        rights = Rights(
            [word.replace("~shop:", "~shop:acme:") for word in rights.worker], rights.server
        )
    grant([own], rights)
    await everything_works(
        own.url + (f"?prefix={prefix}" if prefix else ""), own.client(), namespace
    )


async def test_the_documented_rights_are_enough_in_a_cluster() -> None:
    with service.private_cluster() as cluster:
        grant(cluster.nodes, documented("a cluster"))
        queue = fresh()
        await everything_works(cluster.url, cluster.node_of(queue.key).client(), "default", queue)


async def everything_works(url: str, raw: Any, namespace: str, queue: Queue | None = None) -> None:
    """Whatever publishers and consumers do is done by their users."""
    queue = queue or fresh(namespace=namespace)
    prefix = url.partition("prefix=")[2]
    options = MOMENT._replace(claim_min_idle_time_ms=1, claim_interval_ms=1)
    server, worker = (url.replace("://", f"://{name}:secret@") for name in ("server", "worker"))
    async with publisher(server) as sender:
        sent = messages(queue, 3)
        records = [Published(m, p) for m, p in zip(sent, await sender.publish(sent), strict=True)]
        assert all(each.publication.incarnation for each in records)
        assert await sender.missing(records) == []
        raw.xadd(prefix + queue.key, {"no": "message"})
        async with consumer(worker, queue, name="leaving") as leaving:
            assert len(await collect(leaving, 1, capacity=1)) == 1
        async with consumer(worker, queue, options=options) as reader:
            found: list[Delivery] = []
            refused: list[RefusedMessage] = []
            while len(found) + len(refused) < 4:
                batch = await reader.read(5)
                found += batch.deliveries
                refused += batch.refused
            await reader.refresh(found)
            reader._doubtful.update(reader._streams)
            assert await reader.read(5) == Batch()
            await reader.done(found)
            await reader.dismiss(refused)
        assert raw.xlen(prefix + queue.key) == 0
        assert await _swept(sender, queue) == 2


async def _swept(sender: RedisPublisher, queue: Queue) -> int:
    async def live(run_ids: Sequence[str]) -> set[str]:
        return set()

    await sender.publish(messages(queue, 2))
    return await sender.sweep(live)


async def test_a_worker_can_neither_announce_nor_delete_keys_nor_harm_others(
    own: service.RedisServer,
) -> None:
    queue = fresh()
    grant([own], documented(EVERYWHERE))
    url = own.url.replace("redis://", "redis://worker:secret@")
    async with publisher(own.url) as sender:
        await sender.publish(messages(queue, 1))
    async with publisher(url) as forger:
        with pytest.raises(QueueUnavailable, match="no permissions"):
            await forger.publish(messages(queue, 1))
    script = f"return redis.call('XADD', '{queue.key}', '*', 'a', 'b')"
    client = own.client_of("worker", "secret")
    for command in (
        ("XADD", queue.key, "*", "a", "b"),
        ("DEL", queue.key),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("EVAL", script, 1, queue.key),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "PAUSE", "1"),
        ("CONFIG", "GET", "*"),
        ("XREADGROUP", "GROUP", "workers@1", "me", "STREAMS", "acme:workflow:orders", ">"),
    ):
        with pytest.raises(Exception, match=r"(?i)permission"):
            client.execute_command(*command)
    assert own.client().xlen(queue.key) == 1


async def test_a_wrong_password_is_told_without_it(own: service.RedisServer) -> None:
    grant([own], documented(EVERYWHERE))
    url = own.url.replace("redis://", "redis://worker:guessed@")
    async with consumer(url, fresh(), options=MOMENT) as reader:
        with pytest.raises(QueueUnavailable, match=r"WRONGPASS|invalid username") as told:
            await reader.read(1)
        assert "guessed" not in str(told.value)
