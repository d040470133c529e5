"""Intake: how a request on a route becomes an operation.

What the path does not hold comes from the query string for GET and DELETE, and from a JSON body
otherwise. Ids that the caller did not make are made here; from an `Idempotency-Key` they come out
the same for every repetition.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from aiki.errors import InvalidRequest
from aiki.ids import derived_id, new_id
from aiki.model.audit import Principal
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.runs import SendEvent
from aiki.operations.work import Report
from aiki.server.exchange import Exchange
from aiki.server.json_body import check_text, decode_json, decode_query, read_json
from aiki.server.problems import Refusal
from aiki.server.settings import ServerSettings
from aiki.wire.faces import Face, Faces

IDEMPOTENCY_HEADER = "Idempotency-Key"
_KEY = IDEMPOTENCY_HEADER.lower().encode()
_KEY_FORM = re.compile(rb"[\x20-\x7e]{1,255}")
_ORIGIN = "00000000-0000-7000-8000-000000000000"
"""Ids that are made from keys are derived from nothing."""
_COMMANDS = ("command_id", "claim_id")
_IN_QUERY = frozenset({"GET", "DELETE"})

REQUESTS = Faces(
    made=frozenset(
        {("StartRun", "id"), ("SendEvent", "id")}
        | {
            (name, info.name)
            for name, kind in OPERATIONS.items()
            for info in msgspec.structs.fields(kind)
            if info.name in _COMMANDS and info.required
        }
    ),
    strict=True,
    suffix="Input",
)
"""Faces of what clients ask for."""
RECORDS = Faces(strict=True, suffix="Record")
"""Faces of what workers report: they make every id themselves."""


class Intake:
    """Reads the requests of one operation."""

    def __init__(self, kind: type[Operation[Any]]) -> None:
        self.kind = kind
        self.method, self.path = kind.route.split(" ", 1)
        self.path_fields: tuple[str, ...] = tuple(re.findall(r"{(\w+)}", self.path))
        self.in_query = self.method in _IN_QUERY
        faces = RECORDS if kind is Report else REQUESTS
        self.face: Face = faces.part(kind, f"{kind.__name__}Request", self.path_fields)
        fields = msgspec.structs.fields(self.face.type)
        self.may_be_empty = not any(info.required for info in fields)
        self.query: Any = _flattened(kind, self.face) if self.in_query else None
        self._command = next((info.name for info in fields if info.name in _COMMANDS), None)
        """The field that makes a repeated call the same one."""
        self._nested = _nested(kind) if self.in_query else {}
        self._decode = msgspec.json.Decoder(self.face.type).decode

    async def fields(self, exchange: Exchange, settings: ServerSettings) -> dict[str, Any]:
        """What a request says beside its path."""
        if self.in_query:
            return self._from_query(exchange.scope["query_string"])
        return self.from_body(await read_json(exchange, settings, may_be_empty=self.may_be_empty))

    def from_body(self, body: bytes) -> dict[str, Any]:
        """What a body says."""
        assert self.face.read is not None
        found: dict[str, Any] = self.face.read(decode_json(self._decode, body))
        return found

    def _from_query(self, query: bytes) -> dict[str, Any]:
        found = msgspec.structs.asdict(decode_query(query, self.query))
        for name, face in self._nested.items():
            inner = {info.name: found.pop(info.name) for info in msgspec.structs.fields(face.type)}
            value = face.type(**inner)
            found[name] = face.read(value) if face.read else value
        return found

    def operation(
        self,
        fields: dict[str, Any],
        path: dict[str, str],
        exchange: Exchange,
        principal: Principal,
    ) -> Operation[Any]:
        """The operation, with the ids that the caller did not make."""
        check_text(path)
        if self.kind.mutates:
            self._name_command(fields, _id_of_key(self.kind, path, exchange, principal))
        if self.kind is SendEvent:
            fields["id"] = fields["id"] or new_id()
        for many in ("starts", "events"):
            if many in fields:
                fields[many] = tuple(map(_named, fields[many]))
        values: dict[str, Any] = {**fields, **path}
        return self.kind(**values)

    def _name_command(self, fields: dict[str, Any], id_of_key: str | None) -> None:
        if self._command is None:
            return
        given = fields[self._command]
        if given and id_of_key is not None:
            raise InvalidRequest(
                f"{self._command} and the header {IDEMPOTENCY_HEADER} mean the same: give one"
            )
        if id_of_key is not None or given == "":
            fields[self._command] = id_of_key or new_id()


def _named(one: Any) -> Any:
    """A start or an event with an id."""
    return one if one.id else msgspec.structs.replace(one, id=new_id())


def _id_of_key(
    kind: type[Operation[Any]], path: dict[str, str], exchange: Exchange, principal: Principal
) -> str | None:
    """The id for a request's key; keys of other calls and namespaces never meet it."""
    key = exchange.headers.get(_KEY)
    if key is None:
        return None
    if not _KEY_FORM.fullmatch(key):
        raise Refusal(400, f"the header {IDEMPOTENCY_HEADER} has 1 to 255 printable characters")
    return derived_id(_ORIGIN, principal.namespace, kind.__name__, *path.values(), key.decode())


def _nested(kind: type[Operation[Any]]) -> dict[str, Face]:
    """Records that stand in a query string with their fields side by side."""
    return {
        info.name: REQUESTS.of(info.type)
        for info in msgspec.structs.fields(kind)
        if isinstance(info.type, type) and issubclass(info.type, msgspec.Struct)
    }


def _flattened(kind: type[Operation[Any]], face: Face) -> Any:
    """All parameters of a query string in one struct."""
    nested = _nested(kind)
    infos = [info for inner in nested.values() for info in msgspec.structs.fields(inner.type)]
    infos += [info for info in msgspec.structs.fields(face.type) if info.name not in nested]
    fields: list[Any] = [
        (info.name, info.type) if info.required else (info.name, info.type, info.default)
        for info in infos
    ]
    name = f"{kind.__name__}Query"
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
