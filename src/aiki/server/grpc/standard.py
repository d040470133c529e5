"""The standard services beside Aiki's own: health and reflection, from libraries without types."""

# pyright: reportUnknownMemberType=false, reportAttributeAccessIssue=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import grpc.aio


class Health:
    """Tells load balancers whether the server takes calls."""

    def __init__(self, server: grpc.aio.Server, service: str) -> None:
        self._names = ("", service)
        self._servicer: Any = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def tell(self, *, serving: bool) -> None:
        """Answer so from now on, and tell those that watch."""
        statuses: Any = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)


def enable_reflection(server: grpc.aio.Server, service: str) -> None:
    """Let clients learn the services and their messages from the server itself."""
    names = (service, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
