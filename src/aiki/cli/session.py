"""A session: one command's use of a database or server, from opening it to closing it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from aiki.client.client import Client
from aiki.compose import (
    EmbeddedConnection,
    connect,
    is_remote,
    names_a_server,
    sqlite_path,
    store_for,
)
from aiki.configuration import Settings
from aiki.errors import ConfigurationError, InvalidRequest, NotFound
from aiki.operations.runs import ListRuns

if TYPE_CHECKING:
    from aiki.engine.engine import EngineSettings
    from aiki.store.protocol import Store

R = TypeVar("R")
_ID_LENGTH = 36
_SHORTEST_PREFIX = 4
_CANDIDATES = 5
_PATIENCE = timedelta(seconds=5)


def with_client(
    settings: Settings, work: Callable[[Client], Awaitable[R]], *, patient: bool = False
) -> R:
    """Do the work with a client of a database that exists, or of a server elsewhere."""
    client = client_of(settings, daemons=False, migrate=False, patient=patient)
    path = None if names_a_server(settings.url) else sqlite_path(settings.url)
    if path is not None and not path.exists():
        raise ConfigurationError(
            f"there is no database at {path}: name another by --url or AIKI_URL, "
            "or make it by `aiki dev app.py` or `aiki migrate`"
        )

    async def main() -> R:
        async with client:
            return await work(client)

    return asyncio.run(main())


def client_of(settings: Settings, *, daemons: bool | None, migrate: bool, patient: bool) -> Client:
    """The client that the settings name; nothing is contacted before its first use.

    `daemons` and `migrate` are for an embedded server, as in `EngineSettings` and `store_of`.
    An impatient one, of a command that somebody waits for, repeats calls for a few seconds only.
    """
    timeout = None if patient else _PATIENCE
    if is_remote(settings.url):
        return connect(
            settings.url,
            namespace=settings.namespace,
            token=settings.client_token,
            timeout=timeout,
        )
    store = store_of(settings, migrate=migrate)
    engine = engine_settings(settings, daemons=daemons)
    connection = EmbeddedConnection(store, settings.namespace, engine)
    return Client(connection, namespace=settings.namespace, timeout=timeout)


def engine_settings(settings: Settings, *, daemons: bool | None) -> EngineSettings:
    """The part of the settings that the engine takes."""
    from aiki.engine.engine import EngineSettings

    return EngineSettings(
        daemons=daemons,
        recovery_interval_ms=settings.recovery_interval_ms,
        stall_after_ms=settings.stall_after_ms,
        retention_ms=settings.retention_ms,
        upkeep_interval_ms=settings.upkeep_interval_ms,
    )


def store_of(settings: Settings, *, migrate: bool) -> Store:
    """The store that the settings name, not open yet."""
    return store_for(
        settings.url,
        read_url=settings.read_url,
        listen_url=settings.listen_url,
        pool_size=settings.pool_size,
        migrate=migrate,
    )


async def resolve(client: Client, text: str) -> str:
    """The id of the run that the text names: a whole id, or the start of one that is unique."""
    prefix = text.lower()
    if not re.fullmatch(r"[0-9a-f-]+", prefix) or len(prefix) > _ID_LENGTH:
        raise InvalidRequest(
            f"{text!r} is no run id: it has hexadecimal digits and dashes, such as "
            "019a2b3c-...; `aiki runs list` shows them"
        )
    if len(prefix) == _ID_LENGTH:
        return prefix
    if len(prefix) < _SHORTEST_PREFIX:
        raise InvalidRequest(f"{text!r} is too short: give at least {_SHORTEST_PREFIX} characters")
    # A page begins below its cursor, so that "g" behind the prefix begins with its last match.
    page = await client.call(ListRuns(limit=_CANDIDATES + 1, cursor=prefix + "g"))
    found = [run.id for run in page.runs if run.id.startswith(prefix)]
    if not found:
        raise NotFound(
            f"no run begins with {text} in namespace {client.namespace}; "
            "`aiki runs list` shows what there is"
        )
    if len(found) > 1:
        more = ", ..." if len(found) > _CANDIDATES else ""
        raise InvalidRequest(
            f"{text} is the start of several runs, give more of it: "
            f"{', '.join(found[:_CANDIDATES])}{more}"
        )
    return found[0]
