"""Law: lists come in pages that link to the next, filtered by what the query string says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.support import API, House


async def _runs(house: House, count: int, **fields: object) -> list[str]:
    starts = [
        {"workflow": "orders", "version": "1.0", "input": number, **fields}
        for number in range(count)
    ]
    response = await house.post("runs", {"starts": starts})
    assert response.status == 200
    return [started["id"] for started in response.json]


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_the_links_lead_through_every_run_once(house: House, order: str) -> None:
    ids = await _runs(house, 7)
    found: list[str] = []
    path: str | None = f"{API}/runs?limit=3&order={order}&workflow=orders"
    while path is not None:
        page = await house.get(path)
        assert len(page.json["runs"]) <= 3
        found += [run["id"] for run in page.json["runs"]]
        link = page.headers.get("link")
        assert (link is None) == (page.json["next_cursor"] is None)
        path = re.fullmatch(r'<(.*)>; rel="next"', link)[1] if link else None  # type: ignore[index]
    assert found == (sorted(ids) if order == "oldest" else sorted(ids, reverse=True))


async def test_filters_narrow_a_list(house: House) -> None:
    first, second, third = await _runs(house, 3)
    (other,) = await _runs(house, 1, workflow="bills", shard="a b", reference_id="r&1")
    await house.post(f"runs/{first}/terminate")
    await house.post(f"runs/{second}/pause")
    created_at = (await house.get(f"runs/{other}")).json["run"]["created_at"]
    for query, expected in (
        ("status=paused&status=cancelled", {first, second}),
        ("status=queued&workflow=orders", {third}),
        ("workflow=bills", {other}),
        ("shard=a%20b", {other}),
        ("shard=a+b", {other}),
        ("reference_id=r%261", {other}),
        (f"created_before={created_at + 1}", {first, second, third, other}),
        (f"created_after={created_at + 1}", set[str]()),
        ("version=2.0", set[str]()),
    ):
        runs = (await house.get(f"runs?{query}")).json["runs"]
        assert {run["id"] for run in runs} == expected, query


async def test_a_single_start_is_a_resource(house: House) -> None:
    start = {"workflow": "orders", "version": "1.0", "input": None, "reference_id": "r"}
    created = await house.post("runs", start)
    assert created.status == 201
    assert created.headers["location"] == f"{API}/runs/{created.json['id']}"
    found = await house.get(created.headers["location"])
    assert found.json["run"]["id"] == created.json["id"]
    again = await house.post("runs", start | {"on_conflict": "return_existing"})
    assert (again.status, again.json) == (200, {"id": created.json["id"], "created": False})


async def test_a_list_of_one_is_a_list(house: House) -> None:
    start = {"workflow": "orders", "version": "1.0", "input": None}
    response = await house.post("runs", {"starts": [start]})
    assert response.status == 200
    assert [started["created"] for started in response.json] == [True]


async def test_head_is_get_without_a_body(house: House) -> None:
    run_id = await house.start_run()
    for path in (f"runs/{run_id}", "runs", "/healthz", "openapi.json"):
        head, got = await house.request("HEAD", path), await house.get(path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(got.body))
    for path in (f"runs/{run_id}/stream", "stream", "workers/w/presence?number=1"):
        refused = await house.request("HEAD", path)
        assert (refused.status, refused.headers["allow"]) == (405, "GET")


async def test_namespaces_are_chosen_by_a_header(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db") as house:
        there = {"Aiki-Namespace": "übung"}
        await house.request("PUT", "namespace/retention", json={"retention_ms": 5}, headers=there)
        assert (await house.get("namespace", headers=there)).json["retention_ms"] == 5
        assert (await house.get("namespace")).json == {"name": "default", "retention_ms": None}
