"""Law: a stream tells each transition, goes on where it was left, and waits for nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.engine.support import COMPLETE, claim_of, registration, report_of
from tests.server.support import API, LIMIT_SECONDS, House, holds

if TYPE_CHECKING:
    import aiohttp


class Event(NamedTuple):
    """One event as a browser would see it."""

    name: str
    id: str
    data: Any


class Reader:
    """Reads events off a response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.comments = 0

    async def next(self) -> Event | None:
        """The next event; None when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(LIMIT_SECONDS):
            while line := (await self._response.content.readline()).decode():
                if line == "\n" and fields:
                    return Event(fields["event"], fields["id"], json.loads(fields["data"]))
                self.comments += line.startswith(":")
                name, _, value = line.rstrip("\n").partition(": ")
                if name in ("event", "id", "data"):
                    fields[name] = value
        return None

    async def rest(self) -> list[Event]:
        """All that come until the stream ends."""
        events: list[Event] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def stream(house: House, path: str, last: str | None = None) -> AsyncIterator[Reader]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with house.http.get(f"{API}/{path}", headers=headers) as response:
        assert response.status == 200, await response.read()
        assert response.content_type == "text/event-stream"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        yield Reader(response)


async def _complete(house: House, run_id: str) -> None:
    await house.api.call(registration())
    claims = await house.api.call(claim_of())
    (run,) = [run for run in claims.runs if run.id == run_id]
    await house.api.call(report_of(run, COMPLETE))


async def test_a_run_is_followed_to_its_end(house: House) -> None:
    run_id = await house.start_run(input=[1, None])
    async with stream(house, f"runs/{run_id}/stream") as reader:
        first = await reader.next()
        assert first is not None
        assert (first.name, first.data["run"]["status"]) == ("transition", "queued")
        await house.post(f"runs/{run_id}/pause")
        paused = await reader.next()
        assert paused is not None
        assert paused.data["run"]["status"] == "paused"
        await house.post(f"runs/{run_id}/resume")
        await reader.next()
        await _complete(house, run_id)
        events = await reader.rest()
    assert [event.name for event in events][-2:] == ["transition", "end"]
    assert events[-2].data["output"] == "done"
    assert events[-1].data == {"status": "completed"}
    assert events[-2].data == (await house.get(f"runs/{run_id}")).json


async def test_a_stream_of_a_run_goes_on_after_the_last_event(house: House) -> None:
    run_id = await house.start_run()
    await house.post(f"runs/{run_id}/pause")
    async with stream(house, f"runs/{run_id}/stream", last="0") as reader:
        event = await reader.next()
        assert event is not None
        assert (event.id, event.data["run"]["status"]) == ("1", "paused")
    await house.post(f"runs/{run_id}/terminate")
    async with stream(house, f"runs/{run_id}/stream", last="2") as reader:
        assert [event.name for event in await reader.rest()] == ["end"]


async def test_a_stream_that_cannot_be_is_refused(house: House) -> None:
    run_id = await house.start_run()
    unknown = "018f0000-0000-7000-8000-000000000000"
    bad = {"headers": {"Last-Event-ID": "x"}}
    for path, options, status in (
        (f"runs/{unknown}/stream", {}, 404),
        (f"runs/{run_id}/stream", bad, 400),
        ("stream", bad, 400),
        ("stream", {"headers": {"Last-Event-ID": f"{10**30}:a:1"}}, 400),
        ("stream?status=sleeping", {}, 422),
        ("stream?nothing=1", {}, 422),
    ):
        assert (await house.get(path, **options)).status == status
    assert house.server.service.rooms.streams.taken == 0


async def test_a_namespace_is_followed_and_each_change_told_once(house: House) -> None:
    async with stream(house, "stream") as reader:
        ids = [await house.start_run() for _ in range(3)]
        for run_id in ids:
            await house.post(f"runs/{run_id}/terminate")
        other = await house.request(
            "POST",
            "runs",
            json={"workflow": "a", "version": "1", "input": 1},
            headers={"Aiki-Namespace": "there"},
        )
        assert other.status == 201
        last = await house.start_run()
        told: list[tuple[str, int]] = []
        while not told or told[-1][0] != last:
            event = await reader.next()
            assert event is not None
            assert event.name == "change"
            told.append((event.data["run_id"], event.data["revision"]))
    expected = [(run_id, revision) for run_id in ids for revision in (0, 1)]
    assert sorted(told) == sorted([*expected, (last, 0)])


async def test_a_namespace_is_filtered(house: House) -> None:
    async with stream(house, "stream?workflow=bills&status=cancelled") as reader:
        ids = [await house.start_run(workflow=name) for name in ("orders", "bills")]
        for run_id in ids:
            await house.post(f"runs/{run_id}/terminate")
        event = await reader.next()
        assert event is not None
        assert (event.data["run_id"], event.data["status"]) == (ids[1], "cancelled")


async def test_a_stream_of_a_namespace_misses_nothing_between_connections(house: House) -> None:
    async with stream(house, "stream") as reader:
        before = await house.start_run()
        event = await reader.next()
        assert event is not None
        assert event.data["run_id"] == before
    missed = await house.start_run()
    async with stream(house, "stream", last=event.id) as reader:
        again = await reader.next()
        assert again is not None
        assert again.data["run_id"] == missed


async def test_a_quiet_stream_sends_heartbeats(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", heartbeat_interval_ms=20) as house:
        run_id = await house.start_run()
        for path in ("stream", f"runs/{run_id}/stream"):
            async with stream(house, path) as reader:
                reading = asyncio.create_task(reader.rest())
                await _heard(reader, 3)
                reading.cancel()


async def _heard(reader: Reader, comments: int) -> None:
    await holds(lambda: reader.comments >= comments)


async def test_a_reader_that_leaves_frees_its_place(house: House) -> None:
    run_id = await house.start_run()
    for path in ("stream", f"runs/{run_id}/stream"):
        async with stream(house, path):
            assert house.server.service.rooms.streams.taken == 1
        await holds(lambda: house.server.service.rooms.streams.taken == 0)


async def test_a_reader_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """By the server, long before the kernel would."""
    patient = House(tmp_path / "a.db", write_timeout_ms=200, peer_timeout_ms=600_000)
    async with patient as house, house.raw() as raw:
        await raw.send(f"GET {API}/stream HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await raw.answer()
        # What is received is left where it is: the buffers on both sides fill up.
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        streams = house.server.service.rooms.streams
        name = "w" * 200
        start = {"workflow": name, "version": "1", "input": 1}
        async with asyncio.timeout(LIMIT_SECONDS):
            while streams.taken:
                await house.post("runs", {"starts": [start] * 2_000})


async def test_streams_end_when_the_server_stops(house: House) -> None:
    run_id = await house.start_run()
    async with (
        stream(house, "stream") as namespace,
        stream(house, f"runs/{run_id}/stream") as run,
    ):
        assert await run.next() is not None
        await house.stop()
        assert await namespace.rest() == []
        assert await run.rest() == []
