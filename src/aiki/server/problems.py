"""Problems: every error as `application/problem+json` (RFC 9457), and the status that it gets."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from aiki.errors import (
    AikiError,
    ClaimLost,
    Closed,
    ConfigurationError,
    Conflict,
    IncompatiblePeer,
    InvalidTransition,
    NotFound,
    ServerBusy,
    StoreUnavailable,
    Unauthorized,
    UsageError,
)
from aiki.ids import new_id
from aiki.operations.catalog import PROTOCOL
from aiki.wire.calls import PROTOCOL_HEADER

logger = logging.getLogger("aiki.server")
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:aiki:error:"
Headers = Sequence[tuple[bytes, bytes]]

STATUS: dict[type[AikiError], int] = {
    UsageError: 422,
    ConfigurationError: 500,
    NotFound: 404,
    Conflict: 409,
    InvalidTransition: 409,
    ClaimLost: 409,
    Unauthorized: 401,
    IncompatiblePeer: 426,
    ServerBusy: 429,
    StoreUnavailable: 503,
    Closed: 503,
}
"""The status of an error's class, or of the nearest class above it; 500 for all others."""
_RETRY_SECONDS = {429: b"1", 503: b"2"}
_EXTRA: dict[int, Headers] = {
    401: ((b"www-authenticate", b'Bearer realm="aiki"'),),
    426: (
        (b"upgrade", b"aiki/%d" % PROTOCOL),
        (PROTOCOL_HEADER.lower().encode(), b"%d" % PROTOCOL),
    ),
}


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: Headers
    body: bytes


class Refusal(Exception):
    """The request is refused for a reason of HTTP's own, before it is an operation."""

    def __init__(self, status: int, detail: str, *, headers: Headers = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase


class Problem(msgspec.Struct, frozen=True):
    """What went wrong with a request."""

    type: str
    """A URN that ends with the error's class; programs tell problems apart by it."""
    title: str
    """The class in words, the same for every problem of the type."""
    status: int
    detail: str
    """What was wrong this time, and the way out."""
    instance: str = ""
    """The path that was asked for; of an unexpected error, the id under which it is logged."""


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|\W+", "-", name).lower()


def problem_of(error: BaseException, instance: str) -> Answer:
    """The answer for an error; of one that nobody expected it tells nothing but an id."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, Refusal):
        kind, title, status, detail = error.title, error.title, error.status, error.detail
        headers.extend(error.headers)
    else:
        kind, title, status, detail = _described(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        instance = f"urn:uuid:{new_id()}"
        logger.error("%s: an unexpected error", instance, exc_info=error)
    if status in _RETRY_SECONDS:
        headers.append((b"retry-after", _RETRY_SECONDS[status]))
    headers.extend(_EXTRA.get(status, ()))
    type_ = TYPE_PREFIX + _kebab(kind)
    return _answer(Problem(type_, title, status, _clean(detail), _clean(instance)), headers)


def _described(error: BaseException) -> tuple[str, str, int, str]:
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            break
        if status is not None and isinstance(error, AikiError):
            name = type(error).__name__
            title = (type(error).__doc__ or name).strip().splitlines()[0].rstrip(".")
            return name, title, status, error.message
    detail = "the server failed on this request; its log says more under the id in `instance`"
    return "ServiceError", "The server failed", HTTPStatus.INTERNAL_SERVER_ERROR.value, detail


def _clean(text: str) -> str:
    """The text without halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def _answer(problem: Problem, headers: Headers) -> Answer:
    body = msgspec.json.encode(problem)
    usual = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return Answer(problem.status, [*usual, *headers], body)
