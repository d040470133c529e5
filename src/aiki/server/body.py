"""A request's body: read and inflated within limits, refused before memory is spent."""

from __future__ import annotations

import re
import zlib
from typing import Protocol

from aiki.server.exchange import Exchange, Gone
from aiki.server.problems import Refusal
from aiki.server.settings import ServerSettings

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_GZIP_WINDOW = 31
"""What zlib calls the largest window inside a gzip member."""


async def read_body(exchange: Exchange, settings: ServerSettings) -> bytes:
    """The whole body, inflated; raises `Refusal` as soon as it is known to be too much."""
    limit = settings.max_body_bytes
    length = exchange.headers.get(b"content-length")
    if length is not None and int(length) > limit:
        raise _too_large(limit)
    coding = exchange.headers.get(b"content-encoding", b"identity").strip().lower()
    sink: _Sink
    if coding == b"identity":
        message = await exchange.receive()
        if not message.get("more_body", True):
            whole: bytes = message["body"]
            return whole if len(whole) <= limit else _refuse(limit)
        sink = _Plain(limit)
    elif coding in (b"gzip", b"x-gzip"):
        message = await exchange.receive()
        sink = _Inflated(settings)
    else:
        raise Refusal(415, "the only Content-Encoding that is understood is gzip")
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        sink.take(message.get("body", b""))
        if not message.get("more_body", False):
            return sink.whole()
        message = await exchange.receive()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body has more than {limit} bytes; send it in parts")


def _refuse(limit: int) -> bytes:
    raise _too_large(limit)


class _Sink(Protocol):
    def take(self, part: bytes) -> None: ...

    def whole(self) -> bytes: ...


class _Plain:
    """A body as it is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def take(self, part: bytes) -> None:
        self._data += part
        if len(self._data) > self._limit:
            raise _too_large(self._limit)

    def whole(self) -> bytes:
        return bytes(self._data)


class _Inflated:
    """A body in gzip; it may neither grow over the limit nor by an absurd ratio."""

    def __init__(self, settings: ServerSettings) -> None:
        self._limit = settings.max_body_bytes
        self._ratio = settings.max_inflation
        self._free = settings.free_inflation_bytes
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        self._read = 0
        self._data = bytearray()

    def take(self, part: bytes) -> None:
        self._read += len(part)
        allowed = min(self._limit, max(self._free, self._read * self._ratio))
        try:
            self._data += self._inflater.decompress(part, allowed - len(self._data) + 1)
        except zlib.error as error:
            raise Refusal(400, f"the body is not gzip: {error}") from None
        if len(self._data) > self._limit:
            raise _too_large(self._limit)
        if len(self._data) > allowed:
            raise Refusal(413, f"the body inflates to more than {self._ratio} times its size")
        if self._inflater.unused_data:
            raise Refusal(400, "something follows the end of the gzip body")

    def whole(self) -> bytes:
        if not self._inflater.eof:
            raise Refusal(400, "the gzip body is cut off")
        return bytes(self._data)


def check_json(body: bytes, max_depth: int) -> None:
    """Raise `Refusal` for what is not UTF-8, or is nested too deep to be read with care.

    Brackets are counted at first, strings and all; only a body with many is looked at closely.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise Refusal(400, f"the body is not UTF-8: byte {error.start}") from None
    if body.count(b"[") + body.count(b"{") > max_depth and _is_deeper(body, max_depth):
        raise Refusal(400, f"the body is nested deeper than {max_depth} levels")


def _is_deeper(body: bytes, depth: int) -> bool:
    """Whether brackets outside strings stand deeper; each round takes away the innermost level."""
    left = _STRINGS.sub(b"", body).translate(None, _NO_BRACKETS)
    for _ in range(depth):
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if not left:
            return False
    return True
