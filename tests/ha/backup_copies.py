"""Databases of each kind, and their backups: made by the tools that operators use, while served."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from aiki.compose import sqlite_path
from aiki.store.mysql.address import Address as MySqlAddress
from tests.differential.stores import Look, MySqlLook, PostgresLook, SqliteLook
from tests.services import mysql, postgres
from tests.services.server import missing


class Sqlite:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"sqlite:///{folder}/aiki.db"

    def back_up(self) -> None:
        with closing(sqlite3.connect(self._folder / "aiki.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(self._folder / "backup.db"),))

    def restore(self) -> str:
        """The URL of a new database that holds what the backup does."""
        shutil.copyfile(self._folder / "backup.db", self._folder / "restored.db")
        return f"sqlite:///{self._folder}/restored.db"

    def drop(self) -> None:
        """It goes with its folder."""


class Postgres:
    """A schema, restored into a new database."""

    def __init__(self, folder: Path) -> None:
        server = postgres.postgres(postgres.versions()[0])
        if server.programs is None or server.socket is None:
            pytest.skip("the programs of the server that was given are unknown")
        self._file = folder / "backup.sql"
        self._programs = server.programs
        self._login = ["-h", str(server.socket), "-U", postgres.OWNER]
        self._schema = f"t_{uuid.uuid4().hex}"
        self._copy = f"copy_{uuid.uuid4().hex}"
        self.url = server.schema_url(self._schema)

    def back_up(self) -> None:
        _run([*self._program("pg_dump"), "-n", self._schema, "-f", str(self._file), "postgres"])

    def restore(self) -> str:
        psql, copy = [*self._program("psql"), "-q", "-v", "ON_ERROR_STOP=1"], self._copy
        _run([*psql, "-c", f"CREATE DATABASE {copy}", "postgres"])
        _run([*psql, "-f", str(self._file), copy])
        return self.url.replace("/postgres?", f"/{copy}?")

    def drop(self) -> None:
        """Remove the copy; the schema goes with its server."""
        drop = f"DROP DATABASE IF EXISTS {self._copy} WITH (FORCE)"
        _run([*self._program("psql"), "-q", "-c", drop, "postgres"])

    def _program(self, name: str) -> list[str]:
        return [str(self._programs / name), *self._login]


class MariaDb:
    """A database, restored into a new one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "backup.sql"
        self._name = f"t_{uuid.uuid4().hex}"
        self._copy = f"{self._name}_copy"
        self.url = mysql.database_url(self._name)

    def back_up(self) -> None:
        options = ["--single-transaction", "--hex-blob", f"--result-file={self._file}"]
        self._run("mariadb-dump", *options, self._name)

    def restore(self) -> str:
        restored = mysql.database_url(self._copy)
        self._run("mariadb", self._copy, script=self._file.read_bytes())
        return restored

    def drop(self) -> None:
        """Remove both."""
        for name in (self._name, self._copy):
            mysql.run_client(mysql.server(), f"DROP DATABASE IF EXISTS `{name}`")

    def _run(self, program: str, *arguments: str, script: bytes = b"") -> None:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
        to = MySqlAddress.parse(self.url)
        login = ["--no-defaults", f"-u{to.user}", f"-h{to.host}", f"-P{to.port}"]
        _run([program, *login, *arguments], script, MYSQL_PWD=to.password)


Database = Sqlite | Postgres | MariaDb
DATABASES: dict[str, type[Database]] = {
    "sqlite": Sqlite,
    "postgresql": Postgres,
    "mysql": MariaDb,
}


def open_look(url: str, loop: asyncio.AbstractEventLoop) -> Look:
    """A look into the database of any kind."""
    if url.startswith("sqlite"):
        return SqliteLook(sqlite_path(url))
    return MySqlLook(url, loop) if url.startswith("mysql") else PostgresLook(url, loop)


def _run(argv: Sequence[str], script: bytes = b"", **environment: str) -> None:
    """Run a program to its end; raises with what it printed."""
    done = subprocess.run(
        argv, input=script, capture_output=True, check=False, timeout=60,
        env=os.environ | environment,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed: {done.stderr.decode()}")
