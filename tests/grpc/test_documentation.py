"""Law: the program of docs/grpc.md runs, and knows nothing of Aiki's modules."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiki import Run, Worker, task, workflow
from aiki.client.client import Client
from aiki.remote.grpc import GrpcConnection
from tests.docs.test_code_blocks import blocks
from tests.grpc.support import LIMIT_SECONDS, Served


@task
async def greeting(name: str) -> str:
    return f"hello, {name}"


@workflow("greet").version("1.0.0")
async def greet(run: Run, name: str) -> str:
    return await greeting(run, name)


async def test_a_client_learns_everything_by_reflection(server: Served, tmp_path: Path) -> None:
    program = tmp_path / "client.py"
    program.write_text(blocks("docs/grpc.md", "python"), encoding="utf-8")
    assert "import aiki" not in program.read_text("utf-8")
    async with Client(GrpcConnection([server.url], namespace="default")) as client:
        worker = asyncio.create_task(Worker(client, workflows=[greet]).run())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            program,
            env={**os.environ, "AIKI_GRPC": server.grpc.address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(2 * LIMIT_SECONDS):
            printed, complaints = await process.communicate()
        worker.cancel()
        await asyncio.wait([worker])
    assert printed.decode() == "completed hello, Ada\n", complaints.decode()
