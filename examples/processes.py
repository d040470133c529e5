"""Processes of a demo: a worker alone on a file, or two servers on PostgreSQL and three workers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from examples import ledger

ROOT = Path(__file__).resolve().parent.parent
_WORKERS = 3
_READY_SECONDS = 30.0


class ProcessError(Exception):
    """A process ended by itself, or never became ready."""


class Process:
    """A process that can be killed and started again."""

    def __init__(self, name: str, command: list[str], executions: Path, log: Path) -> None:
        self.name = name
        self.is_server = "server" in command
        self._command = command
        self._environment = {**os.environ, ledger.VARIABLE: str(executions)}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> int:
        """Start it; answers its process id. A server has to say that it is ready."""
        ready = self.is_server
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if ready else log,
                stderr=log, cwd=ROOT, env=self._environment,
            )  # fmt: skip
        if ready:
            await self._until_ready(self._process)
        return self._process.pid

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_READY_SECONDS):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line or not json.loads(line).get("ready"):
            raise ProcessError(f"the {self.name} did not become ready:\n{self._last_words()}")

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return None if self._process is None else self._process.pid

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs any more when this returns."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def check(self) -> None:
        """Raise `ProcessError` if it ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            code = self._process.returncode
            raise ProcessError(f"the {self.name} ended with {code}:\n{self._last_words()}")

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


class Stage(NamedTuple):
    """All processes of one demo, and where a client finds them."""

    url: str
    workers: list[Process]
    servers: list[Process]

    @property
    def processes(self) -> list[Process]:
        """All of them."""
        return [*self.servers, *self.workers]

    def worker(self, name: str) -> Process | None:
        """The worker that Aiki knows by this name, which ends with its process id."""
        return next((each for each in self.workers if name.endswith(f"-{each.pid}")), None)

    def check(self) -> None:
        """Raise `ProcessError` if one of them ended by itself."""
        for process in self.processes:
            process.check()

    async def kill(self) -> None:
        """End all of them."""
        for process in self.processes:
            await process.kill()


def _worker(
    number: int, url: str, scratch: Path, executions: Path, queue: str | None = None
) -> Process:
    command = ["examples.library_index_worker", url, *([queue] if queue else [])]
    return Process(f"worker {number}", command, executions, scratch / f"worker-{number}.log")


@asynccontextmanager
async def alone(scratch: Path, executions: Path) -> AsyncGenerator[Stage]:
    """One worker on an SQLite file: server and store are inside it, and it is killed twice."""
    url = f"sqlite:///{scratch / 'aiki.db'}"
    worker = _worker(1, url, scratch, executions)
    stage = Stage(url, [worker], [])
    try:
        yield stage
    finally:
        await stage.kill()


Staging = Callable[[Path, Path], AbstractAsyncContextManager[Stage]]


def with_servers(database: str | None, queue: str | None = None) -> Staging:
    """Two servers on this PostgreSQL, or on one that is started here, and three workers.

    The servers announce ready runs in this Redis, where the workers listen; without it these poll.
    """

    @asynccontextmanager
    async def staged(scratch: Path, executions: Path) -> AsyncGenerator[Stage]:
        with _postgres(database) as url:
            servers: list[Process] = []
            urls: list[str] = []
            for number in (1, 2):
                port = _free_port()
                command = ["aiki.cli", "server", "--url", url, "--port", str(port),
                           "--grpc-port", "none", "--json",
                           *(["--queue", queue] if queue else [])]  # fmt: skip
                log = scratch / f"server-{number}.log"
                servers.append(Process(f"server {number}", command, executions, log))
                urls.append(f"127.0.0.1:{port}")
            where = f"http://{','.join(urls)}"
            workers = [_worker(n + 1, where, scratch, executions, queue) for n in range(_WORKERS)]
            stage = Stage(where, workers, servers)
            try:
                for server in servers:
                    await server.start()
                yield stage
            finally:
                await stage.kill()

    return staged


@contextmanager
def _postgres(database: str | None) -> Generator[str]:
    """The database's URL; without one, PostgreSQL from the wheel that the tests use."""
    if database is not None:
        yield database
        return
    from tests.services import postgres
    from tests.services.server import private

    with private(postgres.service("18")) as data:
        yield postgres.at(data).url


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
