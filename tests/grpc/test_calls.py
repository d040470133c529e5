"""Laws of unary calls: statuses, callers, ids that the server makes, deadlines, limits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from aiki import errors
from aiki.errors import AikiError, ServerBusy, ServiceError
from aiki.ids import new_id
from aiki.operations.catalog import GetChanges, GetNamespace
from aiki.operations.runs import (
    CancelRun,
    GetRun,
    ListRuns,
    ResumeRun,
    SendEvent,
    StartRuns,
)
from aiki.operations.work import Claims, LoadMemo
from aiki.server.grpc.refusals import STATUS, refused
from aiki.server.serving import Server
from aiki.server.settings import ServerSettings
from aiki.wire.proto.aiki.v1 import aiki_pb2
from tests.grpc.support import (
    Caller,
    Served,
    claim_of,
    holds,
    registration,
    served,
    start_of,
    trailing,
)


async def test_errors_have_their_status_and_name_their_class(server: Served) -> None:
    run_id = await server.start()
    again = start_of(id=run_id, input=b"[1]")
    async with Caller(server) as caller:
        for operation, status, name in (
            (GetRun(id=new_id()), StatusCode.NOT_FOUND, "NotFound"),
            (StartRuns(starts=(again,)), StatusCode.ALREADY_EXISTS, "Conflict"),
            (ResumeRun(id=run_id), StatusCode.FAILED_PRECONDITION, "InvalidTransition"),
            (LoadMemo(run_id=run_id, epoch=7), StatusCode.FAILED_PRECONDITION, "ClaimLost"),
            (ListRuns(limit=0), StatusCode.INVALID_ARGUMENT, "InvalidRequest"),
        ):
            failure = await caller.refused(operation)
            assert (failure.code(), trailing(failure)["aiki-error"]) == (status, name)
            assert failure.details()


def test_every_class_of_error_has_a_status() -> None:
    kinds = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, AikiError)
        if issubclass(each, errors.UsageError | errors.ServiceError | errors.ClaimLost)
    ]
    assert {kind: refused(kind()).status for kind in kinds if kind in STATUS} == STATUS
    assert refused(errors.LimitExceeded()).status is StatusCode.INVALID_ARGUMENT
    assert refused(ServiceError("it broke")).status is StatusCode.INTERNAL


def test_of_an_unexpected_error_nothing_is_told_but_an_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = refused(KeyError("secret"))
    assert told.status is StatusCode.INTERNAL
    assert "secret" not in told.message
    assert told.message.rpartition(" ")[2] in caplog.text


async def test_a_busy_server_says_when_to_come_again(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", max_waiting=1) as server, Caller(server) as caller:
        run_id = await server.start()
        waiting = asyncio.ensure_future(caller.call(GetRun(id=run_id, wait_ms=10_000)))
        await holds(lambda: len(server.engine.runs))
        failure = await caller.refused(GetRun(id=run_id, wait_ms=10_000))
        assert failure.code() is StatusCode.RESOURCE_EXHAUSTED
        assert trailing(failure) == {
            "aiki-error": ServerBusy.__name__,
            "grpc-retry-pushback-ms": "1000",
        }
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_namespace_sees_only_its_own(server: Served) -> None:
    run_id = await server.start()
    async with Caller(server, aiki_namespace="other") as caller:
        assert (await caller.call(GetNamespace())).name == "other"
        assert (await caller.refused(GetRun(id=run_id))).code() is StatusCode.NOT_FOUND
        odd = await caller.refused(GetNamespace(), aiki_namespace="a{b}")
        assert odd.code() is StatusCode.INVALID_ARGUMENT


async def test_a_token_lets_in(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", tokens=("one", "two")) as server:
        async with Caller(server) as caller:
            for given in ({}, {"authorization": "Bearer three"}, {"authorization": "one"}):
                failure = await caller.refused(GetNamespace(), **given)
                assert failure.code() is StatusCode.UNAUTHENTICATED
                assert trailing(failure)["aiki-error"] == "Unauthorized"
        async with Caller(server, authorization="Bearer two") as caller:
            await caller.call(GetNamespace())


async def test_a_role_is_needed(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", roles=frozenset({"viewer"})) as server:
        async with Caller(server) as caller:
            await caller.call(ListRuns())
            failure = await caller.refused(CancelRun(id=new_id(), command_id=""))
            assert failure.code() is StatusCode.PERMISSION_DENIED
            stream = caller.stream()
            assert await stream.code() is StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("protocol", "status"),
    [
        ("1", None),
        ("2", StatusCode.FAILED_PRECONDITION),
        ("0", StatusCode.FAILED_PRECONDITION),
        ("x", StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_peer_of_another_protocol_is_refused(
    server: Served, protocol: str, status: StatusCode | None
) -> None:
    async with Caller(server, aiki_protocol=protocol) as caller:
        if status is None:
            await caller.call(GetNamespace())
        else:
            failure = await caller.refused(GetNamespace())
            assert failure.code() is status
            assert "protocol" in (failure.details() or "")


async def test_ids_that_are_missing_are_made(server: Served) -> None:
    async with Caller(server) as caller:
        (started,) = await caller.call(StartRuns(starts=(start_of(id=""),)))
        assert await server.status(started.id) == "queued"
        assert await caller.call(SendEvent(id="", run_id=started.id, name="paid"))
        assert (await caller.call(CancelRun(id=started.id, command_id=""))).status == "cancelled"


async def test_the_same_idempotency_key_is_the_same_call(server: Served) -> None:
    start = StartRuns(starts=(start_of(id=""),))
    async with Caller(server) as caller:
        first = await caller.call(start, idempotency_key="k1")
        assert await caller.call(start, idempotency_key="k1") == first
        assert await caller.call(start, idempotency_key="k2") != first
        event = SendEvent(id="", run_id=first[0].id, name="paid")
        sent = await caller.call(event, idempotency_key="k1")
        assert await caller.call(event, idempotency_key="k1") == sent
        for key, command_id in (("k" * 256, None), ("k3", "c")):
            both = StartRuns(starts=start.starts, command_id=command_id)
            failure = await caller.refused(both, idempotency_key=key)
            assert failure.code() is StatusCode.INVALID_ARGUMENT


async def test_a_key_over_rest_is_the_same_call(server: Served) -> None:
    rest = Server(server.engine, ServerSettings(port=0))
    await rest.start()
    try:
        async with aiohttp.ClientSession() as http, Caller(server) as caller:
            posted = await http.post(
                f"{rest.url}/api/v1/runs",
                json={"workflow": "orders", "version": "1", "input": {}},
                headers={"Idempotency-Key": "k1"},
            )
            over_rest = await posted.json()
            start = StartRuns(starts=(start_of(id=""),))
            (over_grpc,) = await caller.call(start, idempotency_key="k1")
    finally:
        await rest.stop(1_000)
    assert over_grpc.id == over_rest["id"]


async def test_a_wait_is_answered_before_the_callers_deadline(server: Served) -> None:
    run_id = await server.start()
    async with Caller(server) as caller:
        found = await caller.call(GetRun(id=run_id, wait_ms=60_000), timeout=0.5)
        assert found.run.status == "queued"
        assert await caller.call(GetChanges(wait_ms=60_000, cursor=2**60), timeout=0.5)


async def test_a_claim_whose_caller_left_is_granted_nothing(server: Served) -> None:
    await server.call(registration("worker-1"))
    async with Caller(server) as caller:
        claim = claim_of("worker-1", wait_ms=30_000)
        waiting = asyncio.ensure_future(caller.call(claim))
        await holds(lambda: len(server.engine.claims))
        waiting.cancel()
        await holds(lambda: not len(server.engine.claims))
    run_id = await server.start()
    assert await server.status(run_id) == "queued"


async def test_bytes_that_are_no_message_are_refused(server: Served) -> None:
    async with Caller(server) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.send("GetRun", b"\xff\xff")
        assert caught.value.code() is StatusCode.INVALID_ARGUMENT
        odd = aiki_pb2.StartRunsRequest(starts=[{"on_conflict": "maybe"}])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.send("StartRuns", odd.SerializeToString())
        assert "on_conflict is 'maybe'" in (caught.value.details() or "")


async def test_a_message_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", max_message_bytes=10_000) as server:
        async with Caller(server) as caller:
            large = StartRuns(starts=(start_of(input=b'"%s"' % (b"x" * 20_000)),))
            assert (await caller.refused(large)).code() is StatusCode.RESOURCE_EXHAUSTED
            await caller.call(GetNamespace())


async def test_a_stopping_server_answers_who_waits(server: Served) -> None:
    run_id = await server.start(workflow="other")
    await server.call(registration("worker-1"))
    async with Caller(server) as caller:
        look, claim = GetRun(id=run_id, wait_ms=60_000), claim_of("worker-1", wait_ms=60_000)
        waits: list[Any] = [
            asyncio.ensure_future(caller.call(look)),
            asyncio.ensure_future(caller.call(claim)),
        ]
        await holds(lambda: len(server.engine.runs) and len(server.engine.claims))
        await server.grpc.stop(10_000)
        found, claims = await asyncio.gather(*waits)
        assert found.run.status == "queued"
        assert isinstance(claims, Claims) and not claims.runs


async def test_the_standard_health_service_tells(server: Served) -> None:
    async with Caller(server) as caller:
        for name in ("", "aiki.v1.Aiki"):
            method: Any = caller._channel.unary_unary("/grpc.health.v1.Health/Check")
            request = health_pb2.HealthCheckRequest(service=name)
            answer = health_pb2.HealthCheckResponse.FromString(
                await method(request.SerializeToString())
            )
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch: Any = caller._channel.unary_stream("/grpc.health.v1.Health/Watch")
        watching = watch(health_pb2.HealthCheckRequest().SerializeToString())
        await watching.read()
        stopping = asyncio.ensure_future(server.grpc.stop(200))
        told = health_pb2.HealthCheckResponse.FromString(await watching.read())
        assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await stopping


async def test_processes_may_share_a_port(server: Served, tmp_path: Path) -> None:
    port = int(server.grpc.address.rpartition(":")[2])
    async with served(tmp_path / "b.db", port=port) as other:
        assert other.grpc.address == server.grpc.address


async def test_a_port_that_is_taken_is_told(server: Served, tmp_path: Path) -> None:
    port = int(server.grpc.address.rpartition(":")[2])
    with pytest.raises(errors.ConfigurationError, match="cannot listen on"):
        async with served(tmp_path / "b.db", port=port, reuse_port=False):
            raise AssertionError("two servers listen on one port")
