"""What the tests of the command line share: a database with runs in it, and ways to call `aiki`."""

import asyncio
import os
import select
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import aiki
from aiki.cli import main
from aiki.client import Client, RunHandle
from aiki.engine.engine import EngineSettings
from tests.cli import application

APPLICATION = Path(application.__file__)
SOURCES = Path(aiki.__file__).parents[1]
LONGEST = timedelta(seconds=30)


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


Call = Callable[..., Answer]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AIKI_")]:
        if name != "AIKI_REPLAY_ALWAYS" and not name.startswith("AIKI_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Call]:
    """Call `aiki` in this process: it does what the console script does."""
    modules, path = set(sys.modules), list(sys.path)

    def calling(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return Answer(code, captured.out, captured.err)

    yield calling
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


class Process:
    """`aiki` as a process, whose lines are read as they come; both streams are one."""

    def __init__(self, *arguments: str) -> None:
        self.lines: list[str] = []
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "aiki.cli", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def until(self, *texts: str) -> str:
        """The first line from here on that holds all the texts."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line)
            if all(text in line for text in texts):
                return line
        raise AssertionError(f"it ended without {texts}: {''.join(self.lines)}")

    def has_output(self) -> bool:
        """Whether it said something that was not read yet."""
        assert self.popen.stdout is not None
        return bool(select.select([self.popen.stdout], [], [], 0)[0])

    def ended(self) -> int:
        """Read to the end; answers the exit code."""
        assert self.popen.stdout is not None
        self.lines += self.popen.stdout.readlines()
        code = self.popen.wait(LONGEST.total_seconds())
        assert "Traceback" not in "".join(self.lines), "".join(self.lines)
        return code


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start `aiki` as a process that does not outlive the test."""
    started: list[Process] = []

    def starting(*arguments: str) -> Process:
        started.append(Process(*arguments))
        return started[-1]

    yield starting
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()
        assert process.popen.stdout is not None
        process.popen.stdout.close()


class Runs(NamedTuple):
    """The ids of runs, by what became of them."""

    completed: str
    failed: str
    waiting: str
    diverged: str
    stalled: str


@asynccontextmanager
async def _working(client: Client, *workflows: aiki.Workflow[..., Any]) -> AsyncIterator[None]:
    worker = asyncio.create_task(aiki.Worker(client, workflows=workflows).run())
    yield
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def _reaches(handle: RunHandle[Any], status: str) -> str:
    async with asyncio.timeout(LONGEST.total_seconds()):
        async for now in handle.watch_status():
            if now == status:
                return handle.id
    raise AssertionError(f"{handle} never was {status}")


async def _fill(url: str) -> Runs:
    eager = EngineSettings(daemons=True, stall_after_ms=1, upkeep_interval_ms=10)
    async with aiki.connect(url, settings=eager) as client:
        stalled = await _reaches(await application.unclaimed.enqueue(client), "stalled")
    async with aiki.connect(url) as client:
        async with _working(client, application.before, *application.OFFERED):
            completed = await application.quick.options(reference_id="order-1").enqueue(client, 1)
            failed = await application.quick.enqueue(client, -1)
            waiting = await application.waiting.enqueue(client)
            changing = await application.before.enqueue(client)
            await _reaches(completed, "completed")
            await _reaches(failed, "failed")
            await _reaches(waiting, "awaiting_event")
            await _reaches(changing, "awaiting_event")
        async with _working(client, application.after):
            await changing.send(application.go, 1)
            await _reaches(changing, "diverged")
    return Runs(completed.id, failed.id, waiting.id, changing.id, stalled)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    """A database with a run in every state; closed, to be copied."""
    path = tmp_path_factory.mktemp("filled") / "aiki.db"
    return path, asyncio.run(_fill(f"sqlite:///{path}"))


@pytest.fixture
def runs(filled: tuple[Path, Runs], place: Path) -> Runs:
    """The filled database as `aiki.db` of this folder, and its runs."""
    path, ids = filled
    shutil.copy(path, place / "aiki.db")
    return ids
