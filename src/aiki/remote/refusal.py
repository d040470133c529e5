"""Refusals: what a response means that holds no answers, by its status and its problem document."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aiki import __version__
from aiki.errors import (
    AikiError,
    IncompatiblePeer,
    InvalidRequest,
    LimitExceeded,
    ServerBusy,
    ServerUnreachable,
    ServiceError,
    Unauthorized,
)
from aiki.operations.catalog import PROTOCOL
from aiki.wire.calls import PROTOCOL_HEADER, VERSION_HEADER

_PROBLEM_TYPE = "application/problem+json"
_DETAIL_CHARACTERS = 300
_LONGEST_RETRY_AFTER_SECONDS = 60.0


class _Problem(msgspec.Struct):
    detail: str = ""
    title: str = ""


_problem = msgspec.json.Decoder(_Problem)


def refusal(url: str, status: int, headers: Mapping[str, str], body: bytes) -> AikiError:
    """The error that this response stands for."""
    problem = _read(headers, body)
    detail = _shown(problem)
    match status:
        case 401 | 403:
            why = detail or "check the token and the namespace"
            return Unauthorized(f"{url} does not accept this caller: {why}")
        case 426:
            return _incompatible(url, headers, detail)
        case 429:
            return _later(ServerBusy(f"{url} has too much to do: {detail}"), headers)
        case 503 if problem is not None:
            return _later(ServerBusy(f"{url} cannot answer now: {detail}"), headers)
        case 413:
            return LimitExceeded(f"{url}: {detail or 'the request is too large'}")
        case 400 | 415 | 422 if problem is not None:
            return InvalidRequest(f"{url}: {detail}")
        case _:
            return _later(ServerUnreachable(_strange(url, status, headers, detail)), headers)


def _read(headers: Mapping[str, str], body: bytes) -> _Problem | None:
    if not headers.get("Content-Type", "").startswith(_PROBLEM_TYPE):
        return None
    try:
        return _problem.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _shown(problem: _Problem | None) -> str:
    """Its text, on one line and of bounded length."""
    text = (problem.detail or problem.title) if problem is not None else ""
    return "".join(c if c.isprintable() else " " for c in text[:_DETAIL_CHARACTERS])


def _incompatible(url: str, headers: Mapping[str, str], detail: str) -> IncompatiblePeer:
    version = headers.get(VERSION_HEADER, "an unknown version")
    protocol = headers.get(PROTOCOL_HEADER, "an unknown one")
    return IncompatiblePeer(
        f"{url} is Aiki {version} with protocol {protocol}, this is Aiki {__version__} with "
        f"protocol {PROTOCOL}: bring both to versions that fit" + (f" ({detail})" if detail else "")
    )


def _strange(url: str, status: int, headers: Mapping[str, str], detail: str) -> str:
    if 300 <= status < 400:  # noqa: PLR2004  (the class of statuses that are redirects)
        there = headers.get("Location", "another place")
        return f"{url} redirects to {there[:_DETAIL_CHARACTERS]}: name that server in the URL"
    if detail:
        return f"{url} answered with status {status}: {detail}"
    kind = headers.get("Content-Type", "no content type")
    return f"{url} answered with status {status} and {kind}: is it a server of Aiki's?"


def _later(error: ServiceError, headers: Mapping[str, str]) -> ServiceError:
    """The error with how long the server asks to be left alone; dates are not understood."""
    try:
        seconds = float(headers.get("Retry-After", "0"))
    except ValueError:
        return error
    if seconds > 0:
        error.retry_after_seconds = min(seconds, _LONGEST_RETRY_AFTER_SECONDS)
    return error
