"""Workers and servers in processes of their own, to be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

Process = asyncio.subprocess.Process
STARTING_SECONDS = 30.0
DYING_SECONDS = 3.0
"""A process that has not died by itself until then is killed."""


async def start_worker(url: str, failpoint: str = "") -> Process:
    """A worker that may be set to die at a named place."""
    return await _start(failpoint, "tests.crash.program", url)


async def start_server(
    database: str, port: int, failpoint: str = "", *, queue: str = ""
) -> Process:
    """A server that answers when this returns, unless it was to die while it starts."""
    server = await _start(
        failpoint, "aiki.cli", "server", "--url", database, "--port", str(port),
        "--grpc-port", "none", "--json", *(["--queue", queue] if queue else []),
    )  # fmt: skip
    assert server.stdout is not None
    async with asyncio.timeout(STARTING_SECONDS):
        line = await server.stdout.readline()
    assert b"ready" in line or (failpoint and not line), f"the server said {line!r}"
    return server


async def _start(failpoint: str, module: str, *arguments: str) -> Process:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if failpoint:
        environment["AIKI_FAILPOINT"] = failpoint
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdout=asyncio.subprocess.PIPE, env=environment, limit=1 << 20,
    )  # fmt: skip


async def kill_after(process: Process, lines: int) -> int:
    """SIGKILL once it has printed so many lines; answers how many it printed.

    The first says that it is ready, and may take a while; a process may also die before it.
    """
    assert process.stdout is not None
    async with asyncio.timeout(STARTING_SECONDS):
        seen = int(bool(await process.stdout.readline()))
    # Everything may wait for the recovery of what an earlier process held.
    with suppress(TimeoutError):
        async with asyncio.timeout(DYING_SECONDS):
            while seen < lines and await process.stdout.readline():
                seen += 1
    await kill(process)
    return seen


async def dies(process: Process) -> bool:
    """Whether it died by itself, and soon; otherwise it is killed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DYING_SECONDS):
            await process.wait()
    died = process.returncode is not None
    await kill(process)
    return died


async def kill(process: Process, draining: asyncio.Task[None] | None = None) -> None:
    """SIGKILL, unless it is dead; what it printed is read, here or by who drains it already."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
    await (drain(process) if draining is None else draining)


async def drain(process: Process) -> None:
    """Read what it prints until it ends."""
    assert process.stdout is not None
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()
