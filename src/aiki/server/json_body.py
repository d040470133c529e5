"""JSON requests: bodies and query strings decoded into typed values, with errors that name a path.

Whatever is malformed gets 400, whatever does not fit the type 422.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from aiki.errors import InvalidRequest
from aiki.server.body import check_json, read_body
from aiki.server.exchange import Exchange
from aiki.server.problems import Refusal
from aiki.server.settings import ServerSettings

_MEDIA_TYPE = re.compile(
    rb"application/(?:json|[\w.+-]+\+json)\s*(?:;\s*charset=\"?utf-8\"?\s*)?", re.IGNORECASE
)
_QUERY_FIELDS = 200


async def read_json(exchange: Exchange, settings: ServerSettings, *, may_be_empty: bool) -> bytes:
    """The body of a request with JSON; an empty one, where it may be, is an empty object."""
    headers = exchange.headers
    if may_be_empty and not _has_body(headers):
        return b"{}"
    kind = headers.get(b"content-type", b"").strip()
    if not _MEDIA_TYPE.fullmatch(kind):
        raise Refusal(415, "the body is sent as Content-Type: application/json, in UTF-8")
    body = await read_body(exchange, settings)
    check_json(body, settings.max_json_depth)
    return body


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def decode_json(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """The typed value of a body."""
    try:
        value = decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"the body cannot be read: {error}") from None
    if b"\\u0000" in body:
        check_text(msgspec.to_builtins(value, builtin_types=(msgspec.Raw,)))
    return value


def decode_query(query: bytes, kind: type[msgspec.Struct]) -> Any:
    """The typed parameters of a query string; lists are repeated parameters."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_QUERY_FIELDS,
        )
    except ValueError as error:
        raise Refusal(400, f"the query string cannot be read: {error}") from None
    many = {info.encode_name for info in msgspec.structs.fields(kind) if _is_list(info)}
    values: dict[str, Any] = {}
    for name, value in pairs:
        check_text(value)
        if name in many:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise InvalidRequest(f"the parameter {name} is given twice")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the query string does not fit: {error}") from None


def _is_list(info: msgspec.structs.FieldInfo) -> bool:
    return isinstance(info.default, tuple)


def check_text(value: Any) -> None:
    """Raise `InvalidRequest` for a NUL in any text: databases would cut or refuse it."""
    kind: Any = value.__class__
    if kind is str:
        if "\0" in value:
            raise InvalidRequest(f"the text {value!r} holds a NUL")
    elif kind is dict:
        check_text([*value.keys(), *value.values()])
    elif kind in (list, tuple):
        for one in value:
            check_text(one)
