"""Servers that tests start themselves: one for all processes of a pytest session, or one's own.

A `Service` says how its data is made, how it is started, and how to know that it answers. `shared`
starts it once for all xdist workers; `private` starts one for a test that does it harm.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from tests.services import guard

START_SECONDS = 60
_held: dict[Path, int] = {}
"""Locks of this process: they say that it uses a server."""
_guards: dict[Path, subprocess.Popen[bytes]] = {}
"""Guards that this process started."""


@atexit.register
def _leave_guards() -> None:
    """Guards outlive us: nobody waits for them."""
    for process in _guards.values():
        process.returncode = 0


class Command(NamedTuple):
    """How a server is started; it stays in the foreground."""

    argv: list[str]
    user: str | None = None
    """Whom it runs as where the tests run as root."""
    environment: Mapping[str, str] = {}
    stop_signal: signal.Signals = signal.SIGTERM


class Service(NamedTuple):
    """A kind of server."""

    name: str
    prepare: Callable[[Path], Command]
    """Make what it needs in this folder, which belongs to the command's user afterwards."""
    answers: Callable[[Path], bool]
    """Whether the server in this folder answers."""
    user: str | None = None
    """Owner of the folder where the tests run as root."""


def missing(what: str) -> NoReturn:
    """Skip, naming what is missing; or fail, where every service has to be there."""
    if os.environ.get("AIKI_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}; scripts/services installs it", pytrace=False)
    pytest.skip(what)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run_as(user: str | None, argv: list[str], **options: str) -> None:
    """Run a command to its end, as this user where we are root; raises with what it printed."""
    switch = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user and is_root() else {}
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd="/", timeout=START_SECONDS,
        env=os.environ | options, **switch,  # type: ignore[call-overload]
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed: {done.stdout}{done.stderr}")


def is_root() -> bool:
    return os.geteuid() == 0


def shared(service: Service) -> Path:
    """The data folder of this session's server; the first who asks starts it.

    It is stopped when the last pytest process that asked has ended.
    """
    folder = _session_folder() / service.name
    if folder not in _held:
        _held[folder] = _join(folder, service)
    return folder / "data"


@contextmanager
def private(service: Service) -> Iterator[Path]:
    """The data folder of a server for one test alone; its pid stands in `pid` beside it."""
    folder = Path(tempfile.mkdtemp(prefix=f"aiki-{service.name}-"))
    lock = _join(folder, service)
    try:
        yield folder / "data"
    finally:
        os.close(lock)
        _guards.pop(folder).wait(START_SECONDS)


def server_pid(data: Path) -> int:
    """The process of the server that has this data folder."""
    return int((data.parent / "pid").read_text("utf-8"))


def freeze(pid: int) -> None:
    """Stop a process until it is told to continue; its threads go on for a moment after a SIGSTOP.

    Where the system does not tell of threads, the signal alone is sent.
    """
    os.kill(pid, signal.SIGSTOP)
    threads = Path("/proc", str(pid), "task")
    while threads.exists() and not all(map(_is_still, threads.iterdir())):
        time.sleep(0.001)


def _is_still(thread: Path) -> bool:
    try:
        stat = (thread / "stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "TtZX"


def _session_folder() -> Path:
    """One for all xdist workers of a session."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"pid-{os.getpid()}"
    folder = Path(tempfile.gettempdir()) / f"aiki-services-{os.geteuid()}-{session}"
    folder.mkdir(mode=0o755, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _join(folder: Path, service: Service) -> int:
    """Become a user of the server in this folder, and start it unless it runs."""
    while True:
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)
        lock = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not _was_removed(lock, folder):
            break
        os.close(lock)
    try:
        with (folder / "start.lock").open("ab") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not (folder / "ready").exists():
                _start(folder, service)
                (folder / "ready").touch()
    except BaseException:
        os.close(lock)
        raise
    return lock


def _was_removed(lock: int, folder: Path) -> bool:
    """A guard that stopped its server may have taken the folder away meanwhile."""
    try:
        return os.stat(folder / "users.lock").st_ino != os.fstat(lock).st_ino
    except FileNotFoundError:
        return True


def _start(folder: Path, service: Service) -> None:
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o755)
    if service.user and is_root():
        shutil.chown(data, service.user, pwd.getpwnam(service.user).pw_gid)
    command = service.prepare(data)
    _write_command(folder, command)
    with (folder / "log").open("ab") as output:
        # It may outlive whoever waits for the end of our output.
        process = _guards[folder] = subprocess.Popen(
            [sys.executable, guard.__file__, str(folder)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        until(
            lambda: process.poll() is not None or service.answers(data),
            f"{service.name} does not answer",
        )
        if process.returncode is not None:
            raise RuntimeError(f"the guard of {service.name} ended")
    except RuntimeError as error:
        log = folder / "log"
        printed = log.read_text("utf-8", "replace")[-4000:] if log.exists() else ""
        raise RuntimeError(f"{error}:\n{printed}") from None


def _write_command(folder: Path, command: Command) -> None:
    user = command.user if is_root() else None
    text = json.dumps(
        {
            "argv": command.argv,
            "user": user,
            "group": pwd.getpwnam(user).pw_gid if user else None,
            "environment": dict(command.environment),
            "stop_signal": int(command.stop_signal),
        }
    )
    (folder / "command.json").write_text(text, "utf-8")


def until(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{complaint} within {START_SECONDS} s")
        time.sleep(0.02)
