"""Peers of neighbouring versions work together; those that cannot say so, by name and version."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import aiki
from aiki.engine.engine import VERSION
from aiki.errors import AikiError, IncompatiblePeer, InvalidRequest, ServiceError
from aiki.model.run import RunResult
from aiki.operations.catalog import PROTOCOL, GetChanges
from aiki.operations.runs import GetRun, StartRuns
from aiki.remote import grpc as over_grpc
from aiki.remote import http as over_http
from aiki.remote import refusal
from aiki.wire.calls import decode_answers, encode_answers
from tests.support.databases import url_of
from tests.versions import older
from tests.versions.errands import errand, leg
from tests.versions.golden import plain
from tests.versions.samples import samples_of

each_way = pytest.mark.parametrize("way", [0, 1], ids=["http", "grpc"])
FOREIGN_PROTOCOL = PROTOCOL + 7
FOREIGN_VERSION = "8.1.0"


@asynccontextmanager
async def peer(*arguments: str) -> AsyncIterator[list[str]]:
    """A process until the end of the block; the words of its first line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.versions.peer", *arguments,
        stdout=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await process.stdout.readline()).decode().split()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.stdout.read()
        await process.wait()


@each_way
@pytest.mark.parametrize(
    ("server", "worker", "client"),
    [
        ("new", "old", "new"), ("old", "new", "new"), ("new", "new", "old"), ("old", "old", "new"),
    ],
    ids=["old worker", "old server", "old client", "new client"],
)  # fmt: skip
async def test_a_workflow_ends_between_neighbouring_versions(
    server: str, worker: str, client: str, way: int, tmp_path: Path
) -> None:
    async with AsyncExitStack() as peers:
        enter = peers.enter_async_context
        urls = await enter(peer(server, "server", url_of(tmp_path / "a.db")))
        assert await enter(peer(worker, "worker", urls[way])) == ["ready"]
        said = await enter(peer(client, "client", urls[way]))
    version = older.VERSION if client == "old" else aiki.__version__
    assert said == ["16", "2", version]


@each_way
async def test_an_older_server_refuses_what_it_does_not_know_by_name(
    way: int, tmp_path: Path
) -> None:
    async with peer("old", "server", url_of(tmp_path / "a.db")) as urls:
        async with aiki.connect(urls[way]) as client:
            with pytest.raises((InvalidRequest, IncompatiblePeer), match="older than"):
                await client.call(GetChanges())


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's clients speak another protocol, and call themselves by another version."""
    for module in (over_http, over_grpc, refusal):
        monkeypatch.setattr(module, "PROTOCOL", FOREIGN_PROTOCOL, raising=False)
        monkeypatch.setattr(module, "__version__", FOREIGN_VERSION)


@each_way
@pytest.mark.usefixtures("foreign")
async def test_a_foreign_protocol_is_refused_to_clients_and_workers(
    way: int, tmp_path: Path
) -> None:
    async with peer("new", "server", url_of(tmp_path / "a.db")) as urls:
        async with aiki.connect(urls[way], timeout=timedelta(seconds=5)) as client:
            with pytest.raises(IncompatiblePeer) as asked:
                await errand.enqueue(client, 1)
            with pytest.raises(IncompatiblePeer) as worked:
                await aiki.Worker(client, workflows=[errand, leg]).run()
    for refused in (asked, worked):
        for named in (VERSION, FOREIGN_VERSION, f"protocol {FOREIGN_PROTOCOL}"):
            assert named in str(refused.value)


# What a newer server may answer


def _run_of_a_newer_server(**told: Any) -> bytes:
    """A message whose run says something unheard of."""
    answer = plain(samples_of(RunResult)[0])
    answer["run"] |= told
    # Its payload is Base64 in JSON, and of no interest here.
    answer["output"] = None
    return msgspec.msgpack.encode([[answer]])


def test_a_status_that_is_unknown_here_is_an_error_that_names_it() -> None:
    with pytest.raises(ServiceError, match="'archived'"):
        decode_answers(_run_of_a_newer_server(status="archived"), [GetRun(id="r")])


def test_a_field_that_is_unknown_here_is_left_out() -> None:
    message = _run_of_a_newer_server(colour="green")
    ((answer, error),) = decode_answers(message, [GetRun(id="r")])
    assert error is None
    assert answer.run == samples_of(RunResult)[0].run


def test_an_error_that_is_unknown_here_keeps_its_name_and_message() -> None:
    class QuotaExceeded(AikiError):
        """Of a newer version."""

    message = encode_answers([(None, QuotaExceeded("no more than 10"))])
    ((answer, error),) = decode_answers(message, [StartRuns(starts=())])
    assert answer is None
    assert type(error) is AikiError
    assert str(error) == "QuotaExceeded: no more than 10"
