"""Laws: an answer that is lost leaves nobody in doubt, and nothing is lost or done twice."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import aiki
from tests.differential.stores import PostgresLook, look_at
from tests.ha.ambiguity_load import check_database, ledger, start_and_follow
from tests.ha.ambiguity_proxy import LossyGrpc, LossyHttp, LossyPostgres
from tests.ha.ambiguity_servers import grpc_server, http_server
from tests.services import postgres
from tests.support.databases import exact

postgres_url = postgres.postgres_url
ENOUGH = 5
"""So many answers have to be lost for a test to say something."""


@exact
async def test_commits_whose_answers_are_lost_are_made_once(postgres_url: str) -> None:
    socket = postgres.postgres(postgres.versions()[0]).socket
    if socket is None:
        pytest.skip("the socket of the server that was given is unknown")
    schema = postgres_url.partition("schema=")[2]
    async with LossyPostgres.to_unix(f"{socket}/.s.PGSQL.5432") as proxy:
        url = f"postgresql://{postgres.OWNER}@127.0.0.1:{proxy.port}/postgres"
        async with aiki.connect(f"{url}?sslmode=disable&schema={schema}") as client:
            accepted = await start_and_follow(client, client)
        assert proxy.cuts >= ENOUGH, f"of {proxy.exchanges} exchanges"
    assert ledger.repeated == {}
    await check_database(partial(PostgresLook, postgres_url), accepted)


@exact
async def test_calls_over_http_whose_answers_are_lost_happen_once(tmp_path: Path) -> None:
    path = tmp_path / "aiki.db"
    async with http_server(path) as port, LossyHttp.to_port(port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with aiki.connect(url) as client, aiki.connect(url) as other:
            accepted = await start_and_follow(client, other)
        assert proxy.cuts >= ENOUGH, f"of {proxy.exchanges} exchanges"
    assert ledger.repeated == {}
    await check_database(partial(look_at, path), accepted)


@exact
async def test_calls_over_grpc_whose_answers_are_lost_happen_once(tmp_path: Path) -> None:
    path = tmp_path / "aiki.db"
    async with grpc_server(path) as port, LossyGrpc.to_port(port) as proxy:
        url = f"grpc://127.0.0.1:{proxy.port}"
        async with aiki.connect(url) as client, aiki.connect(url) as other:
            accepted = await start_and_follow(client, other)
        assert proxy.cuts >= ENOUGH, f"of {proxy.exchanges} exchanges"
    # A session that is cut may be taken for a worker's death: then its tasks are executed again.
    await check_database(partial(look_at, path), accepted)
