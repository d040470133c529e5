"""A session: one command's use of the database, from opening it to closing it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiki.client.client import Client
from aiki.compose import connect, sqlite_path
from aiki.configuration import Settings
from aiki.engine.engine import EngineSettings
from aiki.errors import ConfigurationError, InvalidRequest, NotFound
from aiki.operations.runs import ListRuns

R = TypeVar("R")
_ID_LENGTH = 36
_SHORTEST_PREFIX = 4
_CANDIDATES = 5


def with_client(settings: Settings, work: Callable[[Client], Awaitable[R]]) -> R:
    """Do the work with a client of a database that exists."""
    path = sqlite_path(settings.url)
    if not path.exists():
        raise ConfigurationError(
            f"there is no database at {path}: name another by --url or AIKI_URL, "
            "or make it by `aiki dev app.py` or `aiki migrate`"
        )

    async def main() -> R:
        client = connect(
            settings.url, namespace=settings.namespace, settings=EngineSettings(daemons=False)
        )
        async with client:
            return await work(client)

    return asyncio.run(main())


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
