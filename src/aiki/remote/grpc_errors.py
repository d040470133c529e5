"""Errors over gRPC: a status and trailing metadata become the error that the server raised."""

from __future__ import annotations

import grpc
import grpc.aio

from aiki.errors import (
    AikiError,
    Closed,
    IncompatiblePeer,
    LimitExceeded,
    ServerBusy,
    ServerUnreachable,
    ServiceError,
    Unauthorized,
)
from aiki.wire.calls import error_named

_ERROR_KEY = "aiki-error"
_RETRY_KEY = "grpc-retry-pushback-ms"
_UNREACHABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)


def restored(failure: grpc.aio.AioRpcError, url: str) -> AikiError:
    """The error of a call to this server."""
    metadata = {key: value for key, value in failure.trailing_metadata() or ()}
    name = metadata.get(_ERROR_KEY)
    message = failure.details() or ""
    if name is None:
        return _of_transport(failure.code(), message, url)
    error = error_named(str(name), message)
    if isinstance(error, Closed):
        # It is the server that was closed: to its client that is a server that is not there.
        return ServerUnreachable(f"{url}: the server is stopping")
    if isinstance(error, ServiceError) and str(metadata.get(_RETRY_KEY, "")).isdigit():
        error.retry_after_seconds = int(str(metadata[_RETRY_KEY])) / 1000
    return error


def _of_transport(code: grpc.StatusCode, message: str, url: str) -> AikiError:
    """What gRPC itself, or something between here and the server, said."""
    if code in _UNREACHABLE:
        return ServerUnreachable(f"{url} does not answer: {message}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return IncompatiblePeer(f"{url} does not know this call: is it older than this client?")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        too_large = "larger than max" in message
        return (LimitExceeded if too_large else ServerBusy)(f"{url} does not take this: {message}")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Unauthorized(f"{url}: {message}")
    return ServiceError(f"{url}: {code.name}: {message}")
