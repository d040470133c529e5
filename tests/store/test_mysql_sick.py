"""MySQL on servers that are sick: read-only, full, frozen, too old, or set too narrowly."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aiki.errors import ConfigurationError, StoreUnavailable
from aiki.store.mysql import connection, trouble
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import Connection, connect
from aiki.store.mysql.store import MySqlStore
from tests.services import mysql, server
from tests.store.behaviour import Verbs, a_run

mysql_url = mysql.mysql_url
LIMIT_SECONDS = 20


@pytest.fixture(scope="module")
def sick() -> Iterator[mysql.MySql]:
    """A server of these tests alone."""
    with server.private(mysql.service(("--max-connections=12",))) as data:
        yield mysql.at(data)


@pytest.fixture
async def patient(sick: mysql.MySql) -> AsyncIterator[MySqlStore]:
    """A store on it."""
    mysql.run_client(sick, "CREATE DATABASE IF NOT EXISTS patient")
    store = MySqlStore(sick.database("patient"))
    await store.open()
    yield store
    await store.close()


def _as_root(sick: mysql.MySql, statement: str) -> None:
    mysql.run_client(sick._replace(url=sick.url.replace("//aiki@", "//root@")), statement)


async def test_a_server_that_only_reads_is_unavailable_for_writes(
    patient: MySqlStore, sick: mysql.MySql
) -> None:
    _as_root(sick, "SET GLOBAL read_only = 1")
    assert await patient.read(lambda tx: tx.load_runs(["r-1"])) == []
    with pytest.raises(StoreUnavailable, match="read-only"):
        await Verbs(patient).insert_runs([a_run("r-1")])
    _as_root(sick, "SET GLOBAL read_only = 0")
    await Verbs(patient).insert_runs([a_run("r-1")])


async def test_a_full_server_is_unavailable(
    patient: MySqlStore, sick: mysql.MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "_TRIES", 2)
    crowd: list[Connection] = []
    with pytest.raises(StoreUnavailable, match="Too many connections"):
        while len(crowd) < 20:
            crowd.append(await connect(sick.database("patient")))
    with pytest.raises(StoreUnavailable, match="Too many connections"):
        await patient.read(lambda tx: tx.load_runs([]))
    for one in crowd:
        await one.close()


async def test_a_server_that_freezes_is_told_in_time(
    patient: MySqlStore, sick: mysql.MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(connection, "COMMAND_SECONDS", 0.3)
    monkeypatch.setattr(trouble, "_TRIES", 2)
    assert sick.data is not None
    pid = server.server_pid(sick.data)
    await Verbs(patient).insert_runs([a_run("before")])
    server.freeze(pid)
    try:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await asyncio.wait_for(Verbs(patient).insert_runs([a_run("during")]), LIMIT_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await _inserted(patient, "after"):
            pass


async def test_small_packets_are_refused_with_the_way_out(
    patient: MySqlStore, sick: mysql.MySql
) -> None:
    _as_root(sick, "SET GLOBAL max_allowed_packet = 1048576")
    with pytest.raises(ConfigurationError, match="set max_allowed_packet to 16777216"):
        await MySqlStore(sick.database("patient")).open()
    _as_root(sick, "SET GLOBAL max_allowed_packet = 16777216")


async def test_an_old_server_is_refused(mysql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OLDEST_MARIADB", (99, 0, 0))
    monkeypatch.setattr(connection, "OLDEST_MYSQL", (99, 0, 0))
    with pytest.raises(ConfigurationError, match=r"needs 99\.0\.0 or newer"):
        await MySqlStore(mysql_url).open()


@pytest.mark.parametrize(
    ("version", "is_mariadb"),
    [
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", True),
        ("11.4.2-MariaDB-log", True),
        ("8.0.21", False),
        ("8.4.3-commercial", False),
        ("8.0.39-0ubuntu0.24.04.1", False),
    ],
)
def test_servers_are_known_by_their_versions(version: str, is_mariadb: bool) -> None:
    address = Address.parse("mysql://host/db")
    assert connection._is_mariadb(address, version) == is_mariadb


async def _inserted(store: MySqlStore, id: str) -> bool:
    """Whether the server answers again."""
    with suppress(StoreUnavailable):
        await Verbs(store).insert_runs([a_run(id)])
        return True
    return False


# Encryption


@pytest.fixture
def encrypted() -> Iterator[tuple[str, Path]]:
    """The URL of a database that is reached encrypted only, and its server's certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        command = [
            openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(key), "-out", str(certificate),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        # The server runs as somebody else.
        Path(folder).chmod(0o755)
        key.chmod(0o644)
        options = (f"--ssl-cert={certificate}", f"--ssl-key={key}")
        with server.private(mysql.service(options)) as data:
            running = mysql.at(data)
            mysql.run_client(
                running,
                f"CREATE DATABASE aiki; ALTER USER {mysql.OWNER}@'%' REQUIRE SSL",
            )
            yield running.database("aiki"), certificate


async def test_connections_are_encrypted_with_a_server_that_is_known(
    encrypted: tuple[str, Path],
) -> None:
    url, certificate = encrypted
    with pytest.raises(ConfigurationError, match="Access denied"):
        await connect(url)
    with pytest.raises(StoreUnavailable, match="certificate"):
        await connect(f"{url}?ssl=true")
    for option in ("ssl=unverified", f"ssl_ca={certificate}"):
        store = MySqlStore(f"{url}?{option}")
        await store.open()
        cipher = await store.read(
            lambda tx: tx._statements.connection.send(b"SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        )
        assert cipher[0][0][1]
        await store.close()
    with pytest.raises(ConfigurationError, match="no-such-file"):
        await connect(f"{url}?ssl_ca=/no-such-file")


async def test_a_cancellation_that_comes_with_a_connection_is_obeyed(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = asyncio.Event()
    connect_driver = connection._connect

    async def swallowing(**options: Any) -> Any:
        """As `asyncio.wait_for` does it, by which the driver waits, before Python 3.12."""
        driver = await connect_driver(**options)
        connected.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return driver

    monkeypatch.setattr(connection, "_connect", swallowing)
    opening = asyncio.create_task(connect(mysql_url))
    await connected.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
