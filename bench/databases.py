"""Databases to measure on, made for one workload, durable as in production."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import yardstick

_DURABLE = ("fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=256MB")


class Database(NamedTuple):
    """An empty database, and the server that holds it."""

    kind: str
    url: str
    server_url: str = ""

    def commits_a_second(self) -> float:
        """The yardstick: one-row commits on one connection to the same database."""
        if self.kind == "sqlite":
            return yardstick.of_sqlite(Path(self.url.removeprefix("sqlite:///")).parent)
        return asyncio.run(yardstick.of_postgres(self.server_url))


class Databases:
    """Makes databases of one kind; a server is started once for all of them."""

    def __init__(self, kind: str, folder: Path, server_url: str = "") -> None:
        self._kind = kind
        self._folder = folder
        self._server_url = server_url

    def fresh(self) -> Database:
        """An empty one."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        if self._kind == "sqlite":
            folder = self._folder / name
            folder.mkdir()
            return Database("sqlite", f"sqlite:///{folder / 'bench.db'}")
        joint = "&" if "?" in self._server_url else "?"
        url = f"{self._server_url}{joint}schema={name}"
        return Database("postgresql", url, self._server_url)


@contextmanager
def databases(kind: str, folder: Path, url: str | None) -> Iterator[Databases]:
    """Databases in a folder, on a PostgreSQL that is given, or on one that is started here."""
    if kind == "sqlite":
        yield Databases(kind, folder)
    elif url is not None:
        yield Databases(kind, folder, url)
    else:
        from tests.services import postgres
        from tests.services.server import private

        with private(postgres.service("18", _DURABLE)) as data:
            yield Databases(kind, folder, postgres.at(data).url)
