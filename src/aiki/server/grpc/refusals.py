"""Refusals: the status code of every error, and its class in the trailing metadata."""

from __future__ import annotations

import logging
from typing import NamedTuple, NoReturn

from grpc import StatusCode
from grpc.aio import ServicerContext

from aiki.errors import (
    AikiError,
    ClaimLost,
    Closed,
    Conflict,
    IncompatiblePeer,
    InvalidTransition,
    NotFound,
    ServerBusy,
    ServiceError,
    StoreUnavailable,
    Unauthorized,
    UsageError,
)
from aiki.ids import new_id

logger = logging.getLogger("aiki.server")
ERROR_KEY = "aiki-error"
RETRY_KEY = "grpc-retry-pushback-ms"
STATUS: dict[type[AikiError], StatusCode] = {
    UsageError: StatusCode.INVALID_ARGUMENT,
    NotFound: StatusCode.NOT_FOUND,
    Conflict: StatusCode.ALREADY_EXISTS,
    InvalidTransition: StatusCode.FAILED_PRECONDITION,
    ClaimLost: StatusCode.FAILED_PRECONDITION,
    Unauthorized: StatusCode.UNAUTHENTICATED,
    IncompatiblePeer: StatusCode.FAILED_PRECONDITION,
    ServerBusy: StatusCode.RESOURCE_EXHAUSTED,
    StoreUnavailable: StatusCode.UNAVAILABLE,
    Closed: StatusCode.UNAVAILABLE,
}
"""The status of an error's class, or of the nearest class above it; INTERNAL for all others."""
_RETRY_MS = {StatusCode.RESOURCE_EXHAUSTED: "1000", StatusCode.UNAVAILABLE: "2000"}
_MESSAGE_LENGTH = 2_000
"""Characters of a message: metadata has a limit."""

Context = ServicerContext[bytes, bytes]


class Denied(Exception):
    """The caller lacks the role that the operation takes."""


class Refused(NamedTuple):
    """An error as a peer is told of it."""

    status: StatusCode
    name: str
    message: str


def refused(error: BaseException) -> Refused:
    """How to tell of an error; of one that nobody expected, nothing but an id is told."""
    if isinstance(error, Denied):
        return Refused(StatusCode.PERMISSION_DENIED, "Unauthorized", str(error))
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status is not None and isinstance(error, AikiError):
            return Refused(status, type(error).__name__, _clean(error.message))
    id = new_id()
    logger.error("%s: an unexpected error", id, exc_info=error)
    message = f"the server failed on this call; its log says more under {id}"
    return Refused(StatusCode.INTERNAL, ServiceError.__name__, message)


def _clean(text: str) -> str:
    """The text without halves of surrogate pairs, and no longer than metadata may be."""
    return text[:_MESSAGE_LENGTH].encode("utf-8", "replace").decode()


async def abort(context: Context, error: BaseException) -> NoReturn:
    """End the call with the error's status, and its class beside it."""
    status, name, message = refused(error)
    trailing = [(ERROR_KEY, name)]
    if status in _RETRY_MS:
        trailing.append((RETRY_KEY, _RETRY_MS[status]))
    await context.abort(status, message, tuple(trailing))
