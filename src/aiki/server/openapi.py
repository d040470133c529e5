"""The OpenAPI 3.1 document: made from the operations and their faces, so that it cannot lie."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from aiki.engine.engine import VERSION
from aiki.operations.catalog import Change, ServerInfo
from aiki.operations.runs import ListRuns, StartRuns
from aiki.operations.work import ClaimRuns
from aiki.server.health import Alive, Readiness
from aiki.server.intake import IDEMPOTENCY_HEADER
from aiki.server.problems import MEDIA_TYPE, Problem
from aiki.server.resources import PREFIX, Resource, StartsResource
from aiki.server.streams import NamespaceFilter
from aiki.wire import calls

Json = dict[str, Any]
_REF = "#/components/schemas/{name}"
_READ_PROBLEMS = (400, 401, 403, 404, 408, 409, 414, 422, 429, 431, 500, 503)
_WRITE_PROBLEMS = (*_READ_PROBLEMS, 413, 415)
_INTRODUCTION = """\
Everything that Aiki can be asked for, as JSON over HTTP. Payloads (inputs, outputs, values of
events) are JSON values. Instants are whole milliseconds since 1970-01-01T00:00Z on the database's
clock, and durations are whole milliseconds. Errors are problems (RFC 9457): programs tell them
apart by `type`. A call that changes something may be repeated under the same `Idempotency-Key`."""
_PROBLEMS = {
    400: "The request cannot be read.",
    401: "The server asks for a token that it knows.",
    403: "The caller lacks the role.",
    404: "There is no such thing in this namespace.",
    408: "The request took too long to arrive.",
    409: "The state or an earlier request forbids it.",
    413: "The body is too large.",
    414: "The URL is too long.",
    415: "The body's type or coding is not understood.",
    422: "A value does not fit.",
    426: "The client speaks another protocol.",
    429: "The server has as much of this as it takes; repeat after a moment.",
    431: "The headers are too large.",
    500: "The server failed.",
    503: "The server or its database cannot answer now; repeat after a moment.",
}
_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds."}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds."}},
}


def make_document(resources: Sequence[Resource]) -> Json:
    """The document that describes these resources, and what stands beside them."""
    schemas = _Schemas(resources)
    paths: dict[str, Json] = {}
    for resource in resources:
        path = paths.setdefault(PREFIX + resource.intake.path, {})
        path[resource.intake.method.lower()] = _operation(resource, schemas)
    paths |= _others(schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Aiki", "version": VERSION, "description": _INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": {f"Problem{status}": _problem(status) for status in _PROBLEMS},
            "parameters": _shared_parameters(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The schema of every type that the document names."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        kinds: list[Any] = [Problem, Alive, Readiness, Change, NamespaceFilter]
        for resource in resources:
            kinds += [resource.face.type, resource.intake.query or resource.intake.face.type]
            if isinstance(resource, StartsResource):
                kinds.append(resource.single.type)
        found, components = msgspec.json.schema_components(kinds, ref_template=_REF)
        self._of = dict(zip(map(id, kinds), found, strict=True))
        self._kinds = kinds
        self.queries = {
            name: components.pop(name)["properties"]
            for name in list(components)
            if name.endswith("Query") or name == NamespaceFilter.__name__
        }
        self.components = components

    def of(self, kind: Any) -> Json:
        """The schema of a type, or a reference to it."""
        schema: Json = self._of[id(kind)]
        return schema


def _operation(resource: Resource, schemas: _Schemas) -> Json:
    kind, intake = resource.kind, resource.intake
    summary, description = _words(kind)
    parameters: list[Json] = [_path_parameter(name) for name in intake.path_fields]
    if intake.query is not None:
        parameters += _query_parameters(schemas.queries[intake.query.__name__])
    parameters.append({"$ref": "#/components/parameters/Namespace"})
    if kind.mutates:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    document: Json = {
        "operationId": kind.__name__,
        "summary": summary,
        "description": description,
        "tags": [intake.path.split("/")[1]],
        "x-aiki-role": kind.role,
        "parameters": parameters,
        "responses": _responses(resource, schemas),
    }
    if intake.query is None:
        document["requestBody"] = {
            "required": not intake.may_be_empty,
            "content": {"application/json": {"schema": _body(resource, schemas)}},
        }
    return document


def _words(kind: type) -> tuple[str, str]:
    """The first sentence of a docstring, and all of it."""
    text = inspect.getdoc(kind) or kind.__name__
    first = re.split(r"(?<=[.])\s", " ".join(text.split()), maxsplit=1)[0]
    return first.rstrip("."), text


def _body(resource: Resource, schemas: _Schemas) -> Json:
    schema = schemas.of(resource.intake.face.type)
    if isinstance(resource, StartsResource):
        return {"anyOf": [schema, schemas.of(resource.single.type)]}
    return schema


def _responses(resource: Resource, schemas: _Schemas) -> Json:
    answer = schemas.of(resource.face.type)
    done: Json = {"description": "Done.", "content": {"application/json": {"schema": answer}}}
    responses: Json = {"200": done}
    if resource.kind is ListRuns:
        link = "The address of the next page, as `next`; missing on the last."
        done["headers"] = {"Link": {"schema": {"type": "string"}, "description": link}}
    if resource.kind is StartRuns:
        started = answer["items"]
        done["content"]["application/json"]["schema"] = {"anyOf": [answer, started]}
        responses["201"] = {
            "description": "One run was started by itself.",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": started}},
        }
    in_query = resource.intake.query is not None
    return responses | _refusals(_READ_PROBLEMS if in_query else _WRITE_PROBLEMS)


def _refusals(statuses: Sequence[int]) -> Json:
    return {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted(statuses)
    }


def _problem(status: int) -> Json:
    schema = {"$ref": _REF.format(name=Problem.__name__)}
    response: Json = {
        "description": f"{HTTPStatus(status).phrase}. {_PROBLEMS[status]}",
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _path_parameter(name: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(properties: Json) -> list[Json]:
    return [
        {"name": name, "in": "query", "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: Json) -> Json:
    """A parameter that is not there needs no null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    others = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return others | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


def _shared_parameters() -> Json:
    text = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[\w./ -]+$"}
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
    return {
        "Namespace": {
            "name": calls.NAMESPACE_HEADER,
            "in": "header",
            "description": "The namespace that the request is about; `default` without it.",
            "schema": text,
        },
        "IdempotencyKey": {
            "name": IDEMPOTENCY_HEADER,
            "in": "header",
            "description": "Repeated under the same key, the call is carried out once.",
            "schema": key,
        },
    }


# What is no operation


def _others(schemas: _Schemas) -> dict[str, Json]:
    namespace = {"$ref": "#/components/parameters/Namespace"}
    number = {"type": "integer", "minimum": 0}
    last = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}
    changes = _query_parameters(schemas.queries[NamespaceFilter.__name__])
    return {
        "/healthz": _get("Whether the process answers", [], schemas.of(Alive)),
        "/readyz": _readiness(schemas),
        "/version": _get(
            "What answers here", [namespace], schemas.of(ServerInfo), refusals=_READ_PROBLEMS
        ),
        f"{PREFIX}/runs/{{id}}/stream": _get(
            "The transitions of a run, as server-sent events",
            [_path_parameter("id"), namespace, last],
            media_type="text/event-stream",
            refusals=_READ_PROBLEMS,
        ),
        f"{PREFIX}/stream": _get(
            "The transitions of a namespace, as server-sent events",
            [*changes, namespace, last],
            media_type="text/event-stream",
            refusals=_READ_PROBLEMS,
        ),
        f"{PREFIX}/workers/{{incarnation}}/presence": _get(
            "Stays open for as long as the worker lives",
            [
                _path_parameter("incarnation"),
                {"name": "number", "in": "query", "required": True, "schema": number},
                namespace,
            ],
            media_type="text/plain",
            refusals=_READ_PROBLEMS,
            role=ClaimRuns.role,
        ),
        calls.PATH: {"post": _calls()},
    }


def _get(
    summary: str,
    parameters: list[Json],
    schema: Json | None = None,
    *,
    media_type: str = "application/json",
    refusals: Sequence[int] = (),
    role: str = "viewer",
) -> Json:
    content = {media_type: {"schema": schema or {"type": "string"}}}
    responses: Json = {"200": {"description": "It answers.", "content": content}}
    return {
        "get": {
            "summary": summary,
            "parameters": parameters,
            "responses": responses | _refusals(refusals),
            "tags": ["service" if media_type == "application/json" else "streams"],
            "x-aiki-role": role,
        }
    }


def _readiness(schemas: _Schemas) -> Json:
    path = _get("Whether requests should be sent here", [], schemas.of(Readiness))
    responses = path["get"]["responses"]
    responses["503"] = responses["200"] | {"description": "It is not ready, or it stops."}
    return path


def _calls() -> Json:
    content = {calls.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "summary": "Operations of Aiki's own clients, many in one message",
        "description": inspect.getdoc(calls) or "",
        "tags": ["service"],
        "parameters": [
            {"name": calls.PROTOCOL_HEADER, "in": "header", "schema": {"type": "integer"}},
            {"$ref": "#/components/parameters/Namespace"},
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "The answers.", "content": content}}
        | _refusals((400, 401, 408, 413, 415, 422, 426, 429, 500, 503)),
    }
