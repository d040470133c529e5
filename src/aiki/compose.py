"""Who is who: the only module that names concrete stores and engines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiki.client.client import Client
from aiki.engine.engine import EngineSettings
from aiki.engine.host import EmbeddedApi, EngineHost
from aiki.errors import ConfigurationError
from aiki.model.audit import Principal
from aiki.operations.base import Api
from aiki.store.protocol import Store

DEFAULT_URL = "sqlite:///aiki.db"
_LATER = {"postgresql", "postgres", "mysql", "http", "https", "grpc", "grpcs"}


def connect(
    url: str = DEFAULT_URL, *, namespace: str = "default", settings: EngineSettings | None = None
) -> Client:
    """Open a client by URL: `sqlite:///file` runs the server in this process.

    Raises `ConfigurationError` for a URL that names no store; the file is opened at the first use.
    """
    store = store_for(url)
    return Client(EmbeddedConnection(store, namespace, settings), namespace=namespace)


def store_for(url: str) -> Store:
    """The store that a URL names."""
    from aiki.store.sqlite.store import SqliteStore

    return SqliteStore(sqlite_path(url))


def sqlite_path(url: str) -> Path:
    """The file that `sqlite:///relative` or `sqlite:////absolute` names."""
    parts = urlsplit(url)
    if parts.scheme in _LATER:
        raise ConfigurationError(
            f"{parts.scheme}:// is not supported by this version of Aiki; use sqlite:///file"
        )
    if parts.scheme != "sqlite":
        raise ConfigurationError(f"{url!r} is no URL of a store; for example {DEFAULT_URL}")
    if parts.netloc:
        raise ConfigurationError(
            f"{url!r} names a host {parts.netloc!r}; a file takes three slashes: "
            f"sqlite:///{parts.netloc}{parts.path}"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r}: a file's URL takes no options")
    name = unquote(parts.path.removeprefix("/"))
    if not name or name == ":memory:":
        raise ConfigurationError("a database in memory would not survive: name a file")
    path = Path(name)
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it: {url}/aiki.db")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(
            f"the folder {path.absolute().parent} does not exist; make it first"
        )
    return path


class EmbeddedConnection:
    """A server in this process, on a thread of its own."""

    def __init__(
        self, store: Store, namespace: str, settings: EngineSettings | None = None
    ) -> None:
        self.host = EngineHost(store, settings)
        self._principal = Principal(namespace=namespace)

    async def open(self) -> Api:
        """Start the server's thread; returns when it answers."""
        await asyncio.to_thread(self.host.start)
        return EmbeddedApi(self.host, self._principal)

    async def close(self) -> None:
        """Stop the server; what was submitted is committed first."""
        await asyncio.to_thread(self.host.stop)
