"""The demo: index the standard library, kill what works on it, and prove what was not repeated.

Run it by `./scripts/demo`: one worker, killed twice. With `--servers` two servers on PostgreSQL and
three workers do it, and one of each is killed; with `--queue` they hear of work from Redis Streams,
and with `--flush-every 5` all of Redis is deleted every five seconds. It exits with 0 only if the
proof holds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import aiki
from aiki.model.worker import WorkerView
from aiki.operations.catalog import ListWorkers
from aiki.operations.runs import GetHistory, RunQuery
from examples import ledger
from examples.library_index import (
    STANDARD_LIBRARY,
    Job,
    Publication,
    library_index,
    publish,
    python_files,
    search,
)
from examples.processes import Process, ProcessError, Staging, alone, with_servers

KILL_AT = (0.3, 0.65)
SEARCHES = ("event loop", "zip archive", "http cookie")
_ENDED = {"completed", "failed", "cancelled"}
_LOOK_SECONDS = 0.1
_LIMIT_SECONDS = 100.0


class DemoError(Exception):
    """The demo cannot go on."""


class Screen:
    """A progress bar on a terminal, plain lines in a pipe."""

    def __init__(self, total: int) -> None:
        self._console = Console(highlight=False)
        self._total = total
        self._tenth = 0
        self._bar = Progress(
            TextColumn("  results on record"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("executions in the ledger: {task.fields[executions]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("files", total=total, executions=0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)

    def show(self, recorded: int, executions: int) -> None:
        """How far it is."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=recorded, executions=executions)
            return
        tenth = recorded * 10 // max(self._total, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            self.say(f"  {recorded} of {self._total} results on record, {executions} executions")


class Recorded(NamedTuple):
    """The idempotency keys of the tasks that have a result on record."""

    tasks: frozenset[str]
    files: int
    """Those of them that parsed a file."""


class Records:
    """What Aiki has on record for a run and its children, read through its API."""

    def __init__(self, client: aiki.Client, root: str) -> None:
        self._client = client
        self._root = root
        self._of_ended: dict[str, Recorded] = {}

    async def read(self) -> Recorded:
        """All that is on record now."""
        runs = [self._root]
        query = RunQuery(parent_id=self._root)
        runs += [child.id async for child in self._client.runs(query)]
        found = [self._of_ended.get(run) or await self._read(run) for run in runs]
        keys = frozenset[str]().union(*(each.tasks for each in found))
        return Recorded(keys, sum(each.files for each in found))

    async def _read(self, run: str) -> Recorded:
        history = await self._client.call(GetHistory(id=run))
        tasks = [entry for entry in history.entries if entry.kind == "task"]
        attempt = history.run.attempt
        keys = frozenset(f"{run}-{attempt}-{e.address}-{e.ordinal}" for e in tasks)
        found = Recorded(keys, sum(entry.name == "parse_file" for entry in tasks))
        if history.run.status in _ENDED:
            self._of_ended[run] = found
        return found


class Demo:
    """One run of the library index with two kills."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.staging: Staging = alone
        if options.servers:
            self.staging = with_servers(options.database, options.queue)
        self.queue: str | None = options.queue
        self.flush_seconds: float | None = options.flush_every
        self.flushes = 0
        self.scratch = scratch
        self.folder: str = options.folder
        self.limit: int | None = options.limit
        self.tamper: bool = options.tamper
        self.index = scratch / "index.db"
        self.report = scratch / "report.txt"
        self.executions = scratch / "executions.txt"
        self.files = python_files(self.folder, self.limit)
        self.snapshots: list[ledger.Snapshot] = []
        self.started = time.monotonic()

    async def run(self) -> bool:
        """Whether the proof held."""
        if not self.files:
            raise DemoError(f"there is no .py file below {self.folder}")
        with Screen(len(self.files)) as self.screen:
            async with self.staging(self.scratch, self.executions) as self.stage:
                async with aiki.connect(self.stage.url) as self.client, self._flushing():
                    try:
                        async with asyncio.timeout(_LIMIT_SECONDS):
                            return await self._run(self.client)
                    except TimeoutError:
                        raise DemoError(f"not done after {_LIMIT_SECONDS:g} s") from None

    @asynccontextmanager
    async def _flushing(self) -> AsyncGenerator[None]:
        """Delete all that is in Redis, again and again: it only brings news."""
        if self.queue is None or self.flush_seconds is None:
            yield
            return
        from redis.asyncio import Redis

        redis: Any = Redis
        async with redis.from_url(self.queue) as client:
            flusher = asyncio.create_task(self._flush(client.flushall, self.flush_seconds))
            try:
                yield
            finally:
                flusher.cancel()
                await asyncio.gather(flusher, return_exceptions=True)
                self.screen.say(f"FLUSHALL came {self.flushes} times")

    async def _flush(self, flush: Callable[[], Awaitable[object]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await flush()
            self.flushes += 1

    async def _run(self, client: aiki.Client) -> bool:
        self.screen.say(f"Indexing {len(self.files)} files below {self.folder}")
        job = Job(self.folder, str(self.index), str(self.report), self.limit)
        handle = await library_index.enqueue(client, job)
        self.handle = handle
        self.records = Records(client, handle.id)
        for worker in self.stage.workers:
            await self._start(worker)
        for number, share in enumerate(KILL_AT, 1):
            await self._follow(self._reached(max(1, int(share * len(self.files)))))
            if not self.stage.servers:
                await self._kill(number, self.stage.workers[0])
            elif number < len(KILL_AT):
                await self._kill_busiest(number)
            else:
                await self._kill(number, self.stage.servers[0])
        if self.tamper:
            self._forge()

        async def waits_for_event() -> bool:
            history = await client.call(GetHistory(id=handle.id))
            return any(wait.kind == "event" for wait in history.waits)

        await self._follow(waits_for_event)
        await handle.send(publish, Publication(by="the demo"), key="publish")
        self.screen.say("Sent the event `publish`")
        text = await handle.result()
        self.screen.say("The report, written by a child workflow:")
        self._quote(text.splitlines())
        holds = await self._prove()
        self._search()
        seconds = time.monotonic() - self.started
        self.screen.say(f"{'Done' if holds else 'Failed'} in {seconds:.1f} s")
        return holds

    async def _start(self, process: Process) -> None:
        pid = await process.start()
        self.screen.say(f"Started {process.name}, process {pid}")

    async def _busiest(self) -> tuple[WorkerView, Process]:
        """The worker that holds most runs, of those whose process runs."""
        known = await self.client.call(ListWorkers())
        running = [(each, self.stage.worker(each.name)) for each in known]
        mine = [(each, process) for each, process in running if process is not None]
        return max(mine, key=lambda pair: pair[0].running)

    def _reached(self, files: int) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            return self.recorded.files >= files

        return reached

    async def _follow(self, reached: Callable[[], Awaitable[bool]]) -> None:
        """Show how far it is until a point is reached."""
        while True:
            self.recorded = await self.records.read()
            self.screen.show(self.recorded.files, len(ledger.read(self.executions)))
            self.stage.check()
            if await self.handle.status() in _ENDED:
                await self.handle.result()
                raise DemoError("the run ended before the demo was through with it")
            if await reached():
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _kill_busiest(self, number: int) -> None:
        busiest, victim = await self._busiest()
        killed = time.monotonic()
        await self._kill(number, victim, restart=False)
        await self._went_on(busiest.incarnation)
        seconds = time.monotonic() - killed
        self.screen.say(f"  {busiest.running} runs are free for others after {seconds:.1f} s")
        await self._start(victim)

    async def _went_on(self, incarnation: str) -> None:
        """Until the killed worker holds nothing any more: long before its lease ends."""
        held = True
        while held:
            await asyncio.sleep(_LOOK_SECONDS / 4)
            workers = await self.client.call(ListWorkers())
            held = any(each.incarnation == incarnation and each.running for each in workers)

    async def _kill(self, number: int, victim: Process, *, restart: bool = True) -> None:
        await victim.kill()
        recorded = await self.records.read()
        executions = len(ledger.read(self.executions))
        self.snapshots.append(ledger.Snapshot(recorded.tasks, executions))
        self.screen.say(
            f"Kill {number}: SIGKILL of {victim.name} with {recorded.files} of "
            f"{len(self.files)} files on record"
        )
        if restart:
            await self._start(victim)

    def _forge(self) -> None:
        """Pretend that a recorded task ran again."""
        snapshot = self.snapshots[-1]
        done = next(e for e in ledger.read(self.executions) if e.key in snapshot.recorded)
        with self.executions.open("a", encoding="utf-8") as file:
            file.write("\t".join(done) + "\n")
        self.screen.say("Forged a line in the ledger: the proof has to fail")

    async def _prove(self) -> bool:
        executions = ledger.read(self.executions)
        recorded = (await self.records.read()).tasks
        self.screen.say("The proof, from the ledger of executions and the records at each kill:")
        for number, snapshot in enumerate(self.snapshots, 1):
            again = len(ledger.repeated(snapshot, executions))
            self.screen.say(
                f"  kill {number}: {len(snapshot.recorded)} results were on record; "
                f"executed again afterwards: {again}"
            )
        twice = len(executions) - len({execution.key for execution in executions})
        twice -= sum(len(ledger.repeated(each, executions)) for each in self.snapshots)
        self.screen.say(
            f"  {len(recorded)} tasks are on record after {len(executions)} executions; "
            f"{twice} of these repeat what a kill had interrupted before it was on record"
        )
        found = ledger.objections(self.snapshots, executions, recorded, self.files)
        self._quote(found[:20])
        self.screen.say(
            "  The proof does not hold."
            if found
            else "  The proof holds: no recorded task ran again."
        )
        return not found

    def _search(self) -> None:
        for words in SEARCHES:
            hits = search(self.index, words)
            self.screen.say(f"Search for {words!r}:{'' if hits else ' nothing'}")
            self._quote([f"{hit.path} ({hit.lines} lines)" for hit in hits])

    def _quote(self, lines: list[str]) -> None:
        for line in lines:
            self.screen.say(f"  {line}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./scripts/demo", description=__doc__)
    parser.add_argument("--folder", default=STANDARD_LIBRARY, help="what to index")
    parser.add_argument(
        "--servers", action="store_true", help="two servers on PostgreSQL and three workers"
    )
    parser.add_argument("--database", metavar="URL", help="PostgreSQL to use with --servers")
    parser.add_argument("--queue", metavar="URL", help="Redis that brings the news to --servers")
    parser.add_argument(
        "--flush-every", type=float, metavar="SECONDS", help="delete all of that Redis so often"
    )
    parser.add_argument("--limit", type=int, help="index the first so many files only")
    parser.add_argument(
        "--tamper", action="store_true", help="forge a line of the ledger: the proof has to fail"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 if the proof held."""
    options = _options(arguments)
    # The demo kills the worker itself: what Aiki logs about it is no news.
    logging.getLogger("aiki").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="aiki-demo-") as scratch:
        try:
            return 0 if asyncio.run(Demo(options, Path(scratch)).run()) else 1
        except (DemoError, ProcessError, aiki.AikiError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
