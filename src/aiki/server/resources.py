"""Resources: every operation on its route, in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from aiki.model.audit import Principal
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.runs import ListRuns, RunPage, Started, StartRun, StartRuns
from aiki.server.access import check_role
from aiki.server.exchange import Exchange
from aiki.server.intake import REQUESTS, Intake
from aiki.server.json_body import decode_json, read_json
from aiki.server.problems import Answer, Headers
from aiki.server.service import Service
from aiki.wire.calls import answer_type
from aiki.wire.faces import ANSWERS, Face

PREFIX = "/api/v1"
_encode = msgspec.json.Encoder().encode


def json_answer(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A response that holds this value."""
    body = _encode(value)
    usual = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return Answer(status, [*usual, *headers], body)


class Resource:
    """Answers the requests for one operation."""

    def __init__(self, kind: type[Operation[Any]]) -> None:
        self.kind = kind
        self.intake = Intake(kind)
        self.face: Face = ANSWERS.of(answer_type(kind))

    async def __call__(
        self, exchange: Exchange, service: Service, principal: Principal, path: dict[str, str]
    ) -> None:
        """Read the operation, have it carried out, and answer."""
        check_role(principal, self.kind.role)
        fields = await self.intake.fields(exchange, service.settings)
        operation = self.intake.operation(fields, path, exchange, principal)
        result = await service.call(exchange, operation, principal)
        await exchange.respond(self.present(result, exchange))

    def present(self, result: Any, exchange: Exchange) -> Answer:
        """The response for a result."""
        return json_answer(self.face.show(result) if self.face.show else result)


class RunsResource(Resource):
    """Pages of runs, each with the address of the next."""

    def present(self, result: RunPage, exchange: Exchange) -> Answer:
        """The page, and a link to the next."""
        if result.next_cursor is None:
            return json_answer(result)
        query = parse_qsl(exchange.scope["query_string"].decode(), keep_blank_values=True)
        following = [pair for pair in query if pair[0] != "cursor"]
        following.append(("cursor", result.next_cursor))
        link = f'<{PREFIX}/runs?{urlencode(following)}>; rel="next"'
        return json_answer(result, headers=[(b"link", link.encode())])


class _Starts(msgspec.Struct):
    starts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class StartsResource(Resource):
    """Starts come in a list, or one start comes as it is, told by what it lacks."""

    def __init__(self) -> None:
        super().__init__(StartRuns)
        self.single = REQUESTS.of(StartRun)
        self._look = msgspec.json.Decoder(_Starts).decode
        self._decode = msgspec.json.Decoder(self.single.type).decode

    async def __call__(
        self, exchange: Exchange, service: Service, principal: Principal, path: dict[str, str]
    ) -> None:
        """Start runs; one that is started by itself is a resource of its own."""
        check_role(principal, self.kind.role)
        body = await read_json(exchange, service.settings, may_be_empty=False)
        several = decode_json(self._look, body).starts is not msgspec.UNSET
        fields = self.intake.from_body(body) if several else self._from_single(body)
        operation = self.intake.operation(fields, path, exchange, principal)
        result = await service.call(exchange, operation, principal)
        answer = self.present(result, exchange) if several else _created(result)
        await exchange.respond(answer)

    def _from_single(self, body: bytes) -> dict[str, Any]:
        assert self.single.read is not None
        start = self.single.read(decode_json(self._decode, body))
        return {"starts": (start,), "command_id": None}


def _created(result: Sequence[Started]) -> Answer:
    (started,) = result
    location = f"{PREFIX}/runs/{quote(started.id, safe='')}".encode()
    status = 201 if started.created else 200
    return json_answer(started, status=status, headers=[(b"location", location)])


def make_resources() -> list[Resource]:
    """One for every operation."""
    special: dict[type[Operation[Any]], type[Resource]] = {ListRuns: RunsResource}
    others = [kind for kind in OPERATIONS.values() if kind is not StartRuns]
    return [StartsResource(), *(special.get(kind, Resource)(kind) for kind in others)]
