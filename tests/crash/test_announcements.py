"""A server dies between a commit and its announcement: every run is announced, and none often."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import aiki
from aiki.compose import inspect
from aiki.ids import new_id
from tests.crash.processes import STARTING_SECONDS, Process, drain, kill, start_server
from tests.crash.program import child
from tests.differential.stores import each_kind, using
from tests.queue.brokers import Broker, shared_broker
from tests.services.server import free_port
from tests.support import databases

RUNS, AT_ONCE = 240, 20
LIMIT_SECONDS = 60.0

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]


@pytest.mark.parametrize("place", ["after_commit_before_publish", "after_publish_before_note"])
@each_kind
async def test_a_crash_around_an_announcement_loses_none(
    kind: str, place: str, tmp_path: Path
) -> None:
    with using(kind):
        path = tmp_path / "crash.db"
        database, port = databases.url_of(path), free_port()
        broker = shared_broker("redis", new_id())
        dying = await start_server(database, port, f"{place}:7", queue=broker.url)
        async with aiki.connect(f"http://127.0.0.1:{port}") as client:
            starting = asyncio.create_task(_start(client))
            await _die(dying)
            server = await start_server(database, port, queue=broker.url)
            draining = asyncio.create_task(drain(server))
            runs = await starting
            await _noted(path, len(runs))
        await kill(server, draining)
        announced = Counter(_announced(broker))
        assert sorted(announced) == sorted(runs)
        assert set(announced.values()) <= {1, 2}, "twice at most"
        assert await inspect(database) == []


async def _start(client: aiki.Client) -> list[str]:
    """The ids of runs that nobody executes."""
    runs: list[str] = []
    for _ in range(RUNS // AT_ONCE):
        started = await asyncio.gather(*(child.enqueue(client, n) for n in range(AT_ONCE)))
        runs += [handle.id for handle in started]
    return runs


async def _die(server: Process) -> None:
    async with asyncio.timeout(STARTING_SECONDS):
        await drain(server)


async def _noted(path: Path, count: int) -> None:
    """Return when it is on record that so many were announced: then none is announced again."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while await asyncio.to_thread(_notes, path) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _notes(path: Path) -> int:
    ((count,),) = databases.rows_at(path, "SELECT count(*) FROM publication")
    return int(count)


def _announced(broker: Broker) -> list[str]:
    """The runs of all messages."""
    client: Any = broker.server.client()
    prefix = broker.url.partition("prefix=")[2]
    (stream,) = client.scan_iter(f"{prefix}workflow:*")
    return [fields["run"] for _, fields in client.xrange(stream)]
