"""The gRPC server: one port, every operation, the workers' stream, health and reflection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio

from aiki.engine.engine import Engine
from aiki.errors import ConfigurationError
from aiki.server.grpc.admission import Admission
from aiki.server.grpc.calls import Calls
from aiki.server.grpc.refusals import Context
from aiki.server.grpc.sessions import Sessions
from aiki.server.grpc.settings import GrpcSettings
from aiki.server.grpc.standard import Health, enable_reflection
from aiki.wire.proto.aiki.v1 import aiki_pb2

SERVICE = aiki_pb2.DESCRIPTOR.services_by_name["Aiki"]
_SMALLEST_PING_INTERVAL_MS = 5_000


class GrpcServer:
    """Serves an engine on the engine's own loop."""

    def __init__(self, engine: Engine, settings: GrpcSettings | None = None) -> None:
        self._engine = engine
        self._settings = settings or GrpcSettings()
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """Host and port, with the port that was chosen where 0 was asked for."""
        return f"{self._settings.host}:{self._port}"

    async def start(self) -> None:
        """Listen, and answer. Raises `ConfigurationError` for an address that cannot be used."""
        admission = Admission(self._settings)
        self._sessions = Sessions(self._engine, admission, self._settings)
        self._calls = Calls(self._engine, admission, self._sessions)
        server = grpc.aio.server(
            options=_options(self._settings), maximum_concurrent_rpcs=_most_calls(self._settings)
        )
        server.add_generic_rpc_handlers((self._handlers(),))
        self._health = Health(server, SERVICE.full_name)
        enable_reflection(server, SERVICE.full_name)
        self._port = self._bind(server)
        await server.start()
        self._server = server
        await self._health.tell(serving=True)

    def _handlers(self) -> grpc.GenericRpcHandler:
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(behaviour)
            for name, behaviour in self._calls.behaviours().items()
        }
        handlers["Session"] = grpc.stream_stream_rpc_method_handler(self._serve_session)
        return grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)

    async def _serve_session(self, _: object, context: Context) -> None:
        await self._sessions.serve(context)

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        address = f"{settings.host}:{settings.port}"
        try:
            if settings.certificate_file is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, _credentials(settings))
        except RuntimeError:
            raise ConfigurationError(
                f"gRPC cannot listen on {address}: is the port taken, or the host not this one?"
            ) from None

    async def stop(self, grace_ms: int = 5_000) -> None:
        """Stop: whoever waits is answered early, workers are told to go elsewhere.

        What is under way after `grace_ms` is cancelled.
        """
        server, self._server = self._server, None
        if server is None:
            return
        await self._health.tell(serving=False)
        self._calls.close()
        self._sessions.drain()
        await server.stop(grace_ms / 1000)
        await asyncio.gather(self._calls.settle(), self._sessions.settle())


def _credentials(settings: GrpcSettings) -> grpc.ServerCredentials:
    if settings.key_file is None or settings.certificate_file is None:
        raise ConfigurationError("TLS takes both, certificate_file and key_file")
    try:
        key = Path(settings.key_file).read_bytes()
        chain = Path(settings.certificate_file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the certificate for TLS cannot be read: {error}") from None
    return grpc.ssl_server_credentials([(key, chain)])


def _most_calls(settings: GrpcSettings) -> int:
    """What is here at all: as many reports and heartbeats as other calls, and all that waits."""
    return 2 * settings.max_calls + settings.max_waiting + settings.max_sessions


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", settings.keepalive_interval_ms),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
        # The keepalive time-out alone does not end a connection: that of its ping does.
        ("grpc.http2.ping_timeout_ms", settings.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _SMALLEST_PING_INTERVAL_MS),
        ("grpc.max_metadata_size", 16 * 1024),
    ]
