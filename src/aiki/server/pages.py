"""Pages: the OpenAPI document, and the same for people: plain HTML that asks no other host."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec

from aiki.server.exchange import Exchange
from aiki.server.openapi import Json, make_document
from aiki.server.problems import Answer
from aiki.server.resources import PREFIX, Resource

_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #8881; border-radius: 4px }
code { padding: 1px 4px } pre { padding: .7rem; overflow-x: auto; white-space: pre-wrap }
h2 { margin-top: 2.5rem } h3 { margin-bottom: .3rem } b { color: #07c }
table { border-collapse: collapse } td { padding: 1px 1rem 1px 0; vertical-align: top }
:root { color-scheme: light dark }"""
_SECURITY = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


class Pages:
    """Both pages, rendered once."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        document = make_document(resources)
        self._json = _answer(msgspec.json.encode(document), b"application/json")
        self._html = _answer(render(document).encode(), b"text/html; charset=utf-8")

    async def answer_document(self, exchange: Exchange) -> None:
        """The OpenAPI document."""
        await exchange.respond(self._json)

    async def answer_page(self, exchange: Exchange) -> None:
        """The page for people."""
        await exchange.respond(self._html)


def _answer(body: bytes, media_type: bytes) -> Answer:
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *_SECURITY]
    return Answer(200, headers, body)


def render(document: Json) -> str:
    """The document as one page."""
    info = document["info"]
    tags: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            section = _operation(path, method, operation)
            tags.setdefault(operation["tags"][0], []).append(section)
    sections = "".join(
        f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in sorted(tags.items())
    )
    schemas = "".join(
        _schema(name, each) for name, each in document["components"]["schemas"].items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{escape(info['description'])}</p>"
        f'<p>For programs: <a href="{PREFIX}/openapi.json">openapi.json</a></p>'
        f"{sections}<h2>Types</h2>{schemas}</body></html>"
    )


def _operation(path: str, method: str, operation: Json) -> str:
    role = escape(operation.get("x-aiki-role", "any"))
    parameters = "".join(map(_parameter, operation.get("parameters", ())))
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{_response(each)}</td></tr>"
        for status, each in operation["responses"].items()
    )
    body = operation.get("requestBody", {}).get("content", {})
    takes = "".join(f"<p>Body: {_kind(each['schema'])}</p>" for each in body.values())
    words = escape(operation.get("description") or operation["summary"])
    return (
        f"<h3><b>{method.upper()}</b> <code>{escape(path)}</code></h3><p>{words}</p>"
        f"<p>Role: {role}</p><table>{parameters}</table>{takes}"
        f"<details><summary>Answers</summary><table>{answers}</table></details>"
    )


def _parameter(parameter: Json) -> str:
    if "$ref" in parameter:
        name = escape(parameter["$ref"].rpartition("/")[2])
        return f"<tr><td>{name}</td><td>header</td><td></td></tr>"
    cells = (escape(parameter["name"]), escape(parameter["in"]), _kind(parameter["schema"]))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _response(response: Json) -> str:
    if "$ref" in response:
        return "a problem"
    kinds = [_kind(each["schema"]) for each in response.get("content", {}).values()]
    return f"{escape(response['description'])} {', '.join(kinds)}"


def _kind(schema: Json) -> str:
    """A type in a few words, with links to those that have names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    return escape(str(schema.get("type", "any JSON value")))


def _schema(name: str, schema: Json) -> str:
    required: Sequence[str] = schema.get("required", ())
    properties: dict[str, Any] = schema.get("properties", {})
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{_kind(each)}</td>"
        f"<td>{'required' if field in required else ''}</td></tr>"
        for field, each in properties.items()
    )
    words = escape(str(schema.get("description", "")))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{words}</p><table>{rows}</table>'
