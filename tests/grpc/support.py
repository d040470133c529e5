"""A server over gRPC in the test's own loop, raw streams of sessions, and short names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgspec

from aiki.engine.daemons import recover
from aiki.engine.engine import Engine, EngineSettings
from aiki.errors import StoreUnavailable
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.model.worker import WorkflowSpec
from aiki.operations.base import Operation
from aiki.operations.runs import GetRun, StartRun, StartRuns
from aiki.operations.work import ClaimedRun, ClaimRuns, Offer, RegisterWorker, WorkerNews
from aiki.remote.grpc import GrpcApi, GrpcConnection
from aiki.server.grpc.server import GrpcServer
from aiki.server.grpc.settings import GrpcSettings
from aiki.wire.proto.convert import encode, parse, parse_answer
from aiki.wire.proto.session import (
    Credits,
    Hello,
    SessionRequest,
    SessionResponse,
    Welcome,
)
from tests.support.databases import store_at

R = TypeVar("R")
LIMIT_SECONDS = 20
OFFERS = (Offer("orders", "1", "source"),)
Metadata = tuple[tuple[str, str], ...]


class Served:
    """An engine with its server."""

    def __init__(self, engine: Engine, settings: GrpcSettings) -> None:
        self.engine = engine
        self.grpc = GrpcServer(engine, settings)
        self.local = engine.session(Principal())
        self.apis: list[GrpcApi] = []

    @property
    def url(self) -> str:
        return f"grpc://{self.grpc.address}"

    async def api(self, *others: str, **options: Any) -> GrpcApi:
        """The SDK's waist to this server, and to others after it; closed after the test."""
        options = {"namespace": "default", **options}
        api = await GrpcConnection([self.url, *others], **options).open()
        assert isinstance(api, GrpcApi)
        self.apis.append(api)
        return api

    async def call(self, operation: Operation[R]) -> R:
        """In process; repeated while the database does not answer, as every client does."""
        while True:
            try:
                return await self.local.call(operation)
            except StoreUnavailable:
                continue

    async def start(self, **fields: Any) -> str:
        """A run that is ready."""
        return (await self.call(StartRuns(starts=(start_of(**fields),))))[0].id

    async def status(self, run_id: str) -> str:
        return (await self.call(GetRun(id=run_id))).run.status

    async def pass_time(self, milliseconds: int) -> None:
        await self.engine.store.shift_clock(milliseconds)

    async def recover(self) -> int:
        """Let the daemon that recovers runs do its duty once."""
        return await recover(self.engine)


@asynccontextmanager
async def served(path: Path, **settings: Any) -> AsyncIterator[Served]:
    """A server on a database of its own."""
    engine = Engine(store_at(path), EngineSettings(daemons=False))
    await engine.start()
    server = Served(engine, GrpcSettings(**{"port": 0, **settings}))
    await server.grpc.start()
    try:
        yield server
    finally:
        for api in server.apis:
            await api.close()
        await server.grpc.stop(1_000)
        await engine.stop()


class Caller:
    """A client that knows nothing but the messages."""

    def __init__(self, server: Served, *, port: int | None = None, **metadata: str) -> None:
        address = server.grpc.address if port is None else f"127.0.0.1:{port}"
        self._channel = grpc.aio.insecure_channel(address)
        self._metadata: Metadata = tuple(
            (name.replace("_", "-"), value) for name, value in metadata.items()
        )

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(
        self, operation: Operation[R], *, timeout: float = LIMIT_SECONDS, **metadata: str
    ) -> R:
        kind = type(operation)
        data = encode(operation).SerializeToString()
        answer = await self.send(kind.__name__, data, timeout=timeout, **metadata)
        return parse_answer(kind, answer)

    async def send(
        self, name: str, data: bytes, *, timeout: float = LIMIT_SECONDS, **metadata: str
    ) -> bytes:
        more = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        method: Any = self._channel.unary_unary(f"/aiki.v1.Aiki/{name}")
        answer: bytes = await method(data, timeout=timeout, metadata=self._metadata + more)
        return answer

    async def refused(self, operation: Operation[Any], **metadata: str) -> grpc.aio.AioRpcError:
        """The status that this operation gets."""
        try:
            answer = await self.call(operation, timeout=LIMIT_SECONDS, **metadata)
        except grpc.aio.AioRpcError as failure:
            return failure
        raise AssertionError(f"{operation} was answered: {answer}")

    def stream(self) -> Any:
        method: Any = self._channel.stream_stream("/aiki.v1.Aiki/Session")
        return method(metadata=self._metadata)


class RawSession:
    """A session, frame by frame."""

    def __init__(self, caller: Caller, incarnation: str | None = None) -> None:
        self.incarnation = incarnation or new_id()
        self.stream = caller.stream()
        self.seen: list[SessionResponse] = []
        self._number = 0

    async def send_hello(self, presence: int = 0, **fields: Any) -> int:
        worker = registration(self.incarnation, **fields)
        return await self.send(Hello(registration=worker, presence=presence))

    async def hello(self, presence: int = 0, **fields: Any) -> Welcome:
        welcome = await self.answer(await self.send_hello(presence, **fields))
        assert isinstance(welcome, Welcome)
        return welcome

    async def send(self, request: Any) -> int:
        """Write a request; answers its number."""
        self._number += 1
        frame = encode(SessionRequest(self._number, request)).SerializeToString()
        await self.stream.write(frame)
        return self._number

    async def ask(self, request: Any) -> Any:
        return await self.answer(await self.send(request))

    async def answer(self, number: int) -> Any:
        """The response to a request; what comes before it is kept."""
        return (await self.until(lambda frame: frame.number == number)).response

    async def news(self, wanted: Callable[[WorkerNews], object]) -> WorkerNews:
        def is_it(frame: SessionResponse) -> bool:
            return isinstance(frame.response, WorkerNews) and bool(wanted(frame.response))

        news = (await self.until(is_it)).response
        assert isinstance(news, WorkerNews)
        return news

    async def until(self, wanted: Callable[[SessionResponse], bool]) -> SessionResponse:
        """The first frame, seen or yet to come, that is wanted; it is not found again."""
        for place, frame in enumerate(self.seen):
            if wanted(frame):
                return self.seen.pop(place)
        while not wanted(frame := await self.read()):
            self.seen.append(frame)
        return frame

    async def read(self) -> SessionResponse:
        async with asyncio.timeout(LIMIT_SECONDS):
            data = await self.stream.read()
        assert isinstance(data, bytes), "the session has ended"
        return parse(SessionResponse, data)

    async def take(self, **fields: Any) -> tuple[ClaimedRun, ...]:
        """The runs that are pushed for these credits."""
        runs: tuple[ClaimedRun, ...] = (await self.ask(Credits(**({"limit": 1} | fields)))).runs
        return runs

    async def ended(self) -> grpc.StatusCode:
        """Wait for the server to end the stream; what comes before is passed over."""
        async with asyncio.timeout(LIMIT_SECONDS):
            with suppress(grpc.aio.AioRpcError):
                while isinstance(await self.stream.read(), bytes):
                    continue
            code: grpc.StatusCode = await self.stream.code()
        return code

    def cut(self) -> None:
        """The stream breaks."""
        self.stream.cancel()


def registration(incarnation: str, **fields: Any) -> RegisterWorker:
    defaults: dict[str, Any] = {
        "name": "worker",
        "lease_ms": 30_000,
        "workflows": (WorkflowSpec("orders", "1", "source"),),
    }
    return RegisterWorker(incarnation=incarnation, **(defaults | fields))


def claim_of(incarnation: str, **fields: Any) -> ClaimRuns:
    defaults: dict[str, Any] = {"claim_id": new_id(), "offers": OFFERS, "limit": 1}
    return ClaimRuns(incarnation=incarnation, **(defaults | fields))


def start_of(**fields: Any) -> StartRun:
    start = StartRun(id=new_id(), workflow="orders", version="1", input=b"{}")
    return msgspec.structs.replace(start, **fields)


def trailing(failure: grpc.aio.AioRpcError) -> dict[str, str]:
    return {key: str(value) for key, value in failure.trailing_metadata() or ()}


async def holds(condition: Callable[[], object]) -> None:
    """Wait until it is true, one turn of the loop after another."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is looked at announces nothing
            await asyncio.sleep(0)
