"""`POST /api/v1/calls`: many operations in one message, for Aiki's own clients. The hot path."""

from __future__ import annotations

from aiki.engine.engine import VERSION
from aiki.errors import IncompatiblePeer
from aiki.operations.catalog import PROTOCOL
from aiki.server.body import read_body
from aiki.server.exchange import Exchange
from aiki.server.problems import Answer, Headers, Refusal
from aiki.server.service import Service
from aiki.wire.calls import (
    MEDIA_TYPE,
    PROTOCOL_HEADER,
    VERSION_HEADER,
    decode_calls,
    encode_answers,
)

_PROTOCOL = PROTOCOL_HEADER.lower().encode()
_CURRENT = b"%d" % PROTOCOL
_MEDIA_TYPE = MEDIA_TYPE.encode()
PEER_HEADERS: Headers = (
    (_PROTOCOL, _CURRENT),
    (VERSION_HEADER.lower().encode(), VERSION.encode()),
)
"""Tell a client with whom it speaks."""


async def answer_calls(exchange: Exchange, service: Service) -> None:
    """Decode the operations, carry them out side by side, and answer all of them."""
    if exchange.method != "POST":
        raise Refusal(405, "calls are sent by POST", headers=[(b"allow", b"POST")])
    headers = exchange.headers
    if headers.get(_PROTOCOL, _CURRENT) != _CURRENT:
        _check_protocol(headers[_PROTOCOL])
    principal = service.access.principal(headers)
    if headers.get(b"content-type", _MEDIA_TYPE) != _MEDIA_TYPE:
        raise Refusal(415, f"calls are sent as {MEDIA_TYPE}")
    operations = decode_calls(await read_body(exchange, service.settings))
    answers = await service.settle(exchange, operations, principal)
    body = encode_answers(answers)
    length = (b"content-length", b"%d" % len(body))
    usual = [(b"content-type", _MEDIA_TYPE), length, *PEER_HEADERS]
    await exchange.respond(Answer(200, usual, body))


def _check_protocol(given: bytes) -> None:
    """This protocol is spoken, and the one before it."""
    if not given.isdigit():
        raise Refusal(400, f"the header {PROTOCOL_HEADER} is not a number")
    if int(given) not in (PROTOCOL, PROTOCOL - 1) or int(given) < 1:
        raise IncompatiblePeer(
            f"the client speaks protocol {int(given)}, this server (Aiki {VERSION}) speaks "
            f"{PROTOCOL}: bring both to versions that fit"
        )
