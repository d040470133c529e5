"""Law: under one `Idempotency-Key` a call is carried out once, and answered as the first time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.server.support import House, Response

KEY = {"Idempotency-Key": "order 17"}
START = {"workflow": "orders", "version": "1.0", "input": {"n": 1}}
Prepared = Callable[[House], Awaitable[str]]


async def _queued(house: House) -> str:
    return f"runs/{await house.start_run()}"


async def _paused(house: House) -> str:
    run = await _queued(house)
    await house.post(f"{run}/pause")
    return run


async def _ended(house: House) -> str:
    run = await _queued(house)
    await house.post(f"{run}/terminate")
    return run


async def _root(house: House) -> str:
    await house.start_run()
    return "runs"


CONTROLS: list[tuple[Prepared, str, Any, Any]] = [
    (_queued, "/cancel", {"reason": "a"}, {"reason": "b"}),
    (_queued, "/terminate", {"reason": "a"}, {"reason": "b"}),
    (_queued, "/pause", {}, None),
    (_paused, "/resume", {}, None),
    (_ended, "/rerun", {}, None),
    (_queued, "/events", {"name": "paid", "value": 1}, {"name": "paid", "value": 2}),
    (_root, "/cancel", {"query": {}}, {"query": {}, "reason": "b"}),
    (_root, "/rerun", {"query": {"status": ["cancelled"]}}, {"query": {"status": ["failed"]}}),
]


async def test_a_repeated_start_starts_nothing_and_is_answered_alike(house: House) -> None:
    first = await house.post("runs", START, headers=KEY)
    again = await house.post("runs", START, headers=KEY)
    assert (first.status, first.json) == (again.status, again.json)
    assert first.status == 201
    assert first.headers["location"] == again.headers["location"]
    assert len((await house.get("runs")).json["runs"]) == 1


async def test_a_key_with_another_body_is_a_conflict(house: House) -> None:
    await house.post("runs", START, headers=KEY)
    other = await house.post("runs", START | {"input": {"n": 2}}, headers=KEY)
    assert (other.status, other.kind) == (409, "conflict")


@pytest.mark.parametrize(("prepare", "path", "body", "other"), CONTROLS)
async def test_a_repeated_command_is_obeyed_once(
    house: House, prepare: Prepared, path: str, body: Any, other: Any
) -> None:
    target = await prepare(house) + path
    first = await house.post(target, body, headers=KEY)
    again = await house.post(target, body, headers=KEY)
    assert first.status == 200, first
    assert (first.status, first.json) == (again.status, again.json)
    if other is not None:
        refused = await house.post(target, other, headers=KEY)
        assert (refused.status, refused.kind) == (409, "conflict")


async def test_a_command_repeated_after_another_is_not_obeyed_again(house: House) -> None:
    run = await _queued(house)
    await house.post(f"{run}/pause", headers=KEY)
    await house.post(f"{run}/resume")
    await house.post(f"{run}/pause", headers=KEY)
    assert (await house.get(run)).json["run"]["status"] == "queued"


async def test_keys_of_other_runs_and_namespaces_and_calls_do_not_meet(house: House) -> None:
    there = KEY | {"Aiki-Namespace": "there"}
    here = await house.post("runs", START, headers=KEY)
    elsewhere = await house.post("runs", START | {"input": {}}, headers=there)
    assert (here.status, elsewhere.status) == (201, 201)
    for run in (here, await house.post("runs", START)):
        paused = await house.post(f"runs/{run.json['id']}/pause", headers=KEY)
        assert paused.json["status"] == "paused"


async def test_a_claim_under_a_key_gets_the_same_runs(house: House) -> None:
    worker = {"incarnation": "w", "name": "w", "lease_ms": 5_000, "workflows": [_spec()]}
    await house.post("workers", worker)
    await house.post("runs", {"starts": [START, START]})
    claim = {"offers": [{"workflow": "orders", "version": "1.0"}], "limit": 1}
    first = await house.post("workers/w/claims", claim, headers=KEY)
    again = await house.post("workers/w/claims", claim, headers=KEY)
    assert _ids(first) == _ids(again)
    assert _ids(first) != _ids(await house.post("workers/w/claims", claim))


def _spec() -> dict[str, str]:
    return {"name": "orders", "version": "1.0"}


def _ids(response: Response) -> list[str]:
    ids = [run["id"] for run in response.json["runs"]]
    assert ids
    return ids


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb"])
async def test_a_key_that_cannot_be_kept_is_refused(house: House, key: str) -> None:
    refused = await house.post("runs", START, headers={"Idempotency-Key": key})
    assert refused.status == 400
    assert (await house.get("runs")).json["runs"] == []


async def test_a_key_and_a_command_id_are_one_too_many(house: House) -> None:
    body = {"command_id": "x", "starts": [START]}
    refused = await house.post("runs", body, headers=KEY)
    assert (refused.status, refused.kind) == (422, "invalid-request")
