"""MariaDB for tests: Debian's, started here, or a server of MySQL or MariaDB that is given.

A test takes the fixture by naming it in its module: `mysql_url = mysql.mysql_url`. Each test has a
database of its own. `AIKI_TEST_MYSQL_URL` names a server to use instead, by a URL whose user may
create databases and users.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import connect
from aiki.store.mysql.template import literal
from tests.services.server import Command, Service, free_port, missing, run_as, shared

OWNER = "aiki"
_USER = "mysql"
_SETTINGS = {
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "OFF",
    # Hundreds of databases come and go: a file for each of their tables is what takes time.
    "innodb-file-per-table": "OFF",
    "innodb-buffer-pool-size": "128M",
    "innodb-stats-persistent": "OFF",
    "max-connections": "400",
    "table-open-cache": "4000",
    "performance-schema": "OFF",
}
_made: set[str] = set()
"""URLs of databases that this process made."""


class MySql(NamedTuple):
    """A server that runs."""

    url: str
    """Without a database; the user may make databases."""
    data: Path | None
    """Of a server that was started here."""

    @property
    def socket(self) -> Path | None:
        """Of a server that was started here."""
        return None if self.data is None else self.data / "mysqld.sock"

    def database(self, name: str) -> str:
        """The URL of a database."""
        parts = urlsplit(self.url)
        return parts._replace(path=f"/{name}").geturl()


def server() -> MySql:
    """The session's server; skips where there is none."""
    given = os.environ.get("AIKI_TEST_MYSQL_URL")
    return MySql(given, None) if given else at(shared(service()))


def service(settings: Sequence[str] = ()) -> Service:
    """How Debian's MariaDB is started; `settings` are options of its command line."""
    program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing("MariaDB is not installed")
    return Service("mariadb", partial(_prepare, program, tuple(settings)), _answers, _USER)


def at(data: Path) -> MySql:
    """The server that has this data folder."""
    port = (data / "port").read_text("utf-8")
    return MySql(f"mysql://{OWNER}@127.0.0.1:{port}/", data)


def _prepare(program: str, settings: Sequence[str], data: Path) -> Command:
    cluster = data / "cluster"
    run_as(
        _USER,
        ["mariadb-install-db", "--no-defaults", f"--datadir={cluster}", "--skip-test-db",
         "--auth-root-authentication-method=normal", "--innodb-file-per-table=OFF"],
    )  # fmt: skip
    port = free_port()
    (data / "port").write_text(str(port), "utf-8")
    (data / "users.sql").write_text(
        f"CREATE USER IF NOT EXISTS {OWNER}@'%';\n"
        f"GRANT ALL PRIVILEGES ON *.* TO {OWNER}@'%' WITH GRANT OPTION;\n"
        # Who may set what is read-only aside would not notice it.
        f"REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM {OWNER}@'%';\n",
        "utf-8",
    )
    options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    argv = [
        program, "--no-defaults", f"--datadir={cluster}", f"--socket={data}/mysqld.sock",
        f"--pid-file={data}/mysqld.pid", f"--port={port}", "--bind-address=127.0.0.1",
        "--skip-name-resolve", "--skip-log-bin", f"--init-file={data}/users.sql",
        *options, *settings,
    ]  # fmt: skip
    return Command(argv, _USER)


def _answers(data: Path) -> bool:
    port = (data / "port").read_text("utf-8")
    asked = ["mariadb", "--no-defaults", f"-u{OWNER}", "-h127.0.0.1", f"-P{port}", "-e", "SELECT 1"]
    done = subprocess.run(
        asked, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30
    )
    return done.returncode == 0


def database_url(name: str) -> str:
    """The URL of this database on the session's server; made empty where it is not there."""
    running = server()
    url = running.database(name)
    if url not in _made:
        run_client(running, f"CREATE DATABASE IF NOT EXISTS `{name}`")
        _made.add(url)
    return url


def run_client(running: MySql, script: str) -> None:
    """Run statements by the server's own client, from wherever: no loop is needed."""
    address = Address.parse(running.database("mysql"))
    argv = [
        "mariadb", "--no-defaults", f"-u{address.user}", f"-h{address.host}",
        f"-P{address.port}", "--batch",
    ]  # fmt: skip
    done = subprocess.run(
        argv, input=script, text=True, capture_output=True, check=False, timeout=60,
        env=os.environ | {"MYSQL_PWD": address.password},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr}")


async def fetch(url: str, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of one statement on a connection of its own; parameters are `%s`."""
    return (await fetch_each(url, [(sql, values)]))[0]


async def fetch_each(
    url: str, questions: Sequence[tuple[str, Sequence[Any]]]
) -> list[list[tuple[Any, ...]]]:
    """Rows of each statement, on one connection; parameters are `%s`."""
    connection = await connect(url)
    try:
        return [list((await connection.send(_filled(*asked)))[-1]) for asked in questions]
    finally:
        await connection.close()


def _filled(sql: str, values: Sequence[Any]) -> bytes:
    return sql.encode() % tuple(literal(value) for value in values) if values else sql.encode()


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of their own."""
    for statement in statements:
        await fetch(url, statement)


@pytest.fixture
def mysql_url() -> Iterator[str]:
    """An empty database."""
    name = f"t_{uuid.uuid4().hex}"
    yield database_url(name)
    run_client(server(), f"DROP DATABASE IF EXISTS `{name}`")
