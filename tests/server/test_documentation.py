"""Law: what the page about REST says is so: its programs run, and its tables are complete."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiki import Client, Worker
from aiki.compose import EmbeddedConnection
from aiki.operations.base import OPERATIONS
from aiki.server.problems import STATUS, Refusal, problem_of
from aiki.server.serving import Server, ServerSettings
from tests.support.databases import store_at
from tests.support.topology import on_host

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rest.md").read_text("utf-8")
NO_LIMITS = {"host", "port", "reuse_port", "backlog", "tokens"}


def blocks(language: str) -> str:
    """All blocks of one language, one after another."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_its_commands_run_against_a_server_with_an_embedded_worker(tmp_path: Path) -> None:
    """The worker calls the engine in this process, curl calls the same engine over HTTP."""
    program: dict[str, Any] = {"__name__": "app"}
    # As a user would: the page's own app, executed as it stands.
    (tmp_path / "app.py").write_text(blocks("python"), encoding="utf-8")
    exec(compile(blocks("python"), "app.py", "exec"), program)
    connection = EmbeddedConnection(store_at(tmp_path / "aiki.db"), "default", None)
    async with Client(connection, namespace="default") as client:
        engine = connection.host.engine
        assert engine is not None
        server = Server(engine, ServerSettings(port=0))
        await on_host(connection.host, server.start())
        worker = Worker(client, workflows=[program["greet"], program["order"]])
        working = asyncio.create_task(worker.run())
        try:
            code, output = await _shell(blocks("sh"), tmp_path, server.url)
            assert code == 0, output
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await on_host(connection.host, server.stop(2_000))


async def _shell(script: str, folder: Path, url: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euxo", "pipefail", "-c", script,
        cwd=folder,
        env={**os.environ, "AIKI": url, "no_proxy": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


def test_its_table_of_routes_is_complete() -> None:
    rows = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (\w+) \| (\w+) \|$", PAGE, re.MULTILINE))
    assert rows == {(kind.route, name, kind.role) for name, kind in OPERATIONS.items()}


def test_its_table_of_limits_is_complete() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
    settings = {
        info.name: str(info.default)
        for info in msgspec.structs.fields(ServerSettings)
        if info.name not in NO_LIMITS
    }
    assert rows == settings


def test_its_table_of_errors_names_every_status_and_type() -> None:
    rows = {
        int(status): set(re.findall(r"`([a-z-]+)`", types))
        for status, types in re.findall(r"^\| (\d{3}) \| (.*) \|$", PAGE, re.MULTILINE)
    }
    for kind, status in STATUS.items():
        if kind.__name__ not in ("UsageError", "ConfigurationError"):
            assert _type(kind("")) in rows[status]
    for status in (400, 403, 405, 408, 413, 414, 415, 429, 431, 503):
        assert _type(Refusal(status, "")) in rows[status]


def _type(error: Exception) -> str:
    problem = msgspec.json.decode(problem_of(error, "").body)
    return str(problem["type"]).removeprefix("urn:aiki:error:")
