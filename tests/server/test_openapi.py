"""Law: the OpenAPI document describes every operation, and every answer is as it says."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from aiki.operations.base import OPERATIONS
from aiki.server.openapi import make_document
from aiki.server.pages import render
from aiki.server.resources import make_resources
from tests.server.support import House

DOCUMENT = make_document(make_resources())


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def test_every_operation_is_in_the_document() -> None:
    operations = [each for each in _operations(DOCUMENT) if "operationId" in each]
    described = {each["operationId"]: each for each in operations}
    assert described.keys() == OPERATIONS.keys()
    for name, each in described.items():
        assert each["x-aiki-role"] == OPERATIONS[name].role
        assert each["summary"]
        assert len(each["responses"]) > 5


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found: Any = DOCUMENT
        for part in reference.split("/"):
            found = found[part]
        assert found
    assert "Base64" not in text
    assert '"contentEncoding"' not in text, "payloads are values, not bytes"


async def test_the_document_is_served(house: House) -> None:
    response = await house.get("openapi.json")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.json == json.loads(json.dumps(DOCUMENT))


class Page(HTMLParser):
    """Collects what a page would load, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        self.links.update(value for name in ("href", "src") if (value := named.get(name)))
        self.anchors.update(value for value in (named.get("id"),) if value)


async def test_the_page_is_plain_and_asks_no_other_host(house: House) -> None:
    response = await house.get("docs")
    page = Page()
    page.feed(response.body.decode())
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert all(link.startswith(("#", "/")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.anchors
    for name in OPERATIONS:
        assert OPERATIONS[name].route.split(" ")[1] in response.body.decode()


def test_the_page_escapes_what_it_shows() -> None:
    evil = json.loads(json.dumps(DOCUMENT).replace("One run to start", "<script>"))
    assert "<script>" not in render(evil)


# Whatever a client sends

NOT_SENT = ("/stream", "/presence", "/healthz", "/readyz", "/calls")
"""What never ends, what takes nothing that could be wrong, and what is no JSON."""
EXAMPLES = 15
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
FOUND: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr]
SENT = {each.label: each for each in FOUND if not each.path.endswith(NOT_SENT)}


class Live:
    """A server on a thread of its own, for a client that blocks."""

    def __init__(self, path: Path) -> None:
        self._house = House(path, max_wait_ms=20)
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._house:
            self.url = self._house.server.url
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(10)
        return self.url

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that anything may be sent to."""
    with Live(tmp_path_factory.mktemp("live") / "a.db") as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
@pytest.mark.parametrize("label", sorted(SENT))
def test_whatever_is_sent_is_answered_as_documented(
    live: str, label: str, mode: GenerationMode
) -> None:
    """Nothing makes the server fail, and each answer is one that the document foresees."""
    operation = SENT[label]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        with requests.Session() as session:
            case.call_and_validate(base_url=live, session=session, checks=CHECKS, timeout=20)

    send()
    assert requests.get(f"{live}/readyz", timeout=20).status_code == 200
