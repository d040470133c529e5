"""Law: every mistake gets a problem with its class, its status and a way out."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aiki.errors import (
    AikiError,
    ClaimLost,
    Closed,
    ConfigurationError,
    Conflict,
    DefinitionError,
    IncompatiblePeer,
    InvalidRequest,
    InvalidTransition,
    LimitExceeded,
    NotFound,
    PayloadError,
    ServerBusy,
    ServiceError,
    StoreUnavailable,
    Unauthorized,
)
from aiki.ids import new_id
from aiki.operations.catalog import GetServerInfo, SetRetention
from aiki.operations.runs import StartRun, StartRuns
from aiki.server.access import Access
from aiki.server.problems import problem_of
from aiki.wire.calls import MEDIA_TYPE, PATH, encode_calls
from tests.server.support import House

JSON = {"Content-Type": "application/json"}
START = {"workflow": "orders", "version": "1.0", "input": {}}

CLASSES: list[tuple[type[AikiError], int]] = [
    (NotFound, 404),
    (Conflict, 409),
    (InvalidTransition, 409),
    (ClaimLost, 409),
    (InvalidRequest, 422),
    (PayloadError, 422),
    (DefinitionError, 422),
    (LimitExceeded, 422),
    (Unauthorized, 401),
    (IncompatiblePeer, 426),
    (ServerBusy, 429),
    (StoreUnavailable, 503),
    (Closed, 503),
]


@pytest.mark.parametrize(("kind", "status"), CLASSES)
def test_each_class_of_errors_has_its_status(kind: type[AikiError], status: int) -> None:
    answer = problem_of(kind("what was wrong"), "/here")
    problem = json.loads(answer.body)
    headers = dict(answer.headers)
    assert answer.status == problem["status"] == status
    assert problem["detail"] == "what was wrong"
    assert problem["instance"] == "/here"
    assert problem["title"]
    assert (b"retry-after" in headers) == (status in (429, 503))
    assert (b"www-authenticate" in headers) == (status == 401)


def test_an_unexpected_error_tells_an_id_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for error in (KeyError("secret"), ServiceError("secret"), ConfigurationError("secret")):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            answer = problem_of(error, "/here")
        problem = json.loads(answer.body)
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert problem["instance"] in caplog.text


class Mistake(NamedTuple):
    """A request, and the problem that it gets."""

    method: str
    path: str
    options: dict[str, Any]
    status: int
    kind: str


MISTAKES = [
    Mistake("GET", "/nothing/here", {}, 404, "not-found"),
    Mistake("GET", "nothing", {}, 404, "not-found"),
    Mistake("GET", "runs/018f0000-0000-7000-8000-000000000000", {}, 404, "not-found"),
    Mistake("PATCH", "runs", {}, 405, "method-not-allowed"),
    Mistake("GET", "runs/cancel", {}, 405, "method-not-allowed"),
    Mistake("POST", "runs", {"data": b"{", "headers": JSON}, 400, "bad-request"),
    Mistake("POST", "runs", {"data": b"", "headers": JSON}, 400, "bad-request"),
    Mistake("POST", "runs", {"data": b"\xff", "headers": JSON}, 400, "bad-request"),
    Mistake("POST", "runs", {"data": b'{"a": NaN}', "headers": JSON}, 400, "bad-request"),
    Mistake("POST", "runs", {"data": b"[" * 65 + b"]" * 65, "headers": JSON}, 400, "bad-request"),
    Mistake("POST", "runs", {"data": b"a=1"}, 415, "unsupported-media-type"),
    Mistake("POST", "runs", {"data": b"{}", "headers": {"Content-Type": "a/b"}}, 415,
     "unsupported-media-type"),
    Mistake("POST", "runs", {"json": START, "headers": {"Content-Encoding": "br"}}, 415,
     "unsupported-media-type"),
    Mistake("POST", "runs", {"data": b"no", "headers": JSON | {"Content-Encoding": "gzip"}}, 400,
     "bad-request"),
    Mistake("POST", "runs", {"json": {}}, 422, "invalid-request"),
    Mistake("POST", "runs", {"json": START | {"more": 1}}, 422, "invalid-request"),
    Mistake("POST", "runs", {"json": START | {"workflow": "a:b"}}, 422, "invalid-request"),
    Mistake("POST", "runs", {"json": START | {"workflow": "a\0b"}}, 422, "invalid-request"),
    Mistake("POST", "runs", {"json": START | {"workflow": "w" * 201}}, 422, "limit-exceeded"),
    Mistake("POST", "runs", {"json": START | {"priority": 2**60}}, 422, "invalid-request"),
    Mistake("POST", "runs", {"json": START | {"id": "1"}}, 422, "invalid-request"),
    Mistake("POST", "runs", {"json": START | {"options": {"retry": {"attempts": 0}}}}, 422,
     "definition-error"),
    Mistake("POST", "runs", {"json": START | {"options": {"timeout": 1}}}, 422, "invalid-request"),
    Mistake("GET", "runs?limit=0", {}, 422, "invalid-request"),
    Mistake("GET", "runs?limit=1001", {}, 422, "invalid-request"),
    Mistake("GET", "runs?limit=x", {}, 422, "invalid-request"),
    Mistake("GET", "runs?limit=1&limit=2", {}, 422, "invalid-request"),
    Mistake("GET", "runs?nothing=1", {}, 422, "invalid-request"),
    Mistake("GET", "runs?workflow=%ff", {}, 400, "bad-request"),
    Mistake("GET", "runs?workflow=%00", {}, 422, "invalid-request"),
    Mistake("GET", "runs/%00", {}, 422, "invalid-request"),
    Mistake("GET", "runs", {"headers": {"Aiki-Namespace": ""}}, 422, "invalid-request"),
    Mistake("GET", "runs", {"headers": {"Aiki-Namespace": "a:b"}}, 422, "invalid-request"),
    Mistake("POST", "calls", {"data": b"\xc1", "headers": {"Content-Type": MEDIA_TYPE}}, 422,
     "invalid-request"),
    Mistake("POST", "calls", {"json": {}}, 415, "unsupported-media-type"),
    Mistake("GET", "calls", {}, 405, "method-not-allowed"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.kind}")
async def test_each_mistake_gets_its_problem(house: House, mistake: Mistake) -> None:
    response = await house.request(mistake.method, mistake.path, **mistake.options)
    assert (response.status, response.kind) == (mistake.status, mistake.kind), response
    assert response.json["detail"]
    assert "Traceback" not in response.json["detail"]
    assert (mistake.status == 405) == ("allow" in response.headers)
    assert (await house.get("version")).status == 200


async def test_a_value_that_does_not_fit_is_named_by_its_path(house: House) -> None:
    response = await house.post("runs", {"starts": [START, START | {"priority": "high"}]})
    assert "$.starts[1].priority" in response.json["detail"]


async def test_a_wrong_method_is_told_the_right_ones(house: House) -> None:
    response = await house.request("DELETE", "runs")
    assert response.headers["allow"] == "GET, HEAD, POST"


async def test_a_command_that_the_state_forbids_is_a_conflict(house: House) -> None:
    run_id = await house.start_run()
    await house.post(f"runs/{run_id}/terminate")
    response = await house.post(f"runs/{run_id}/terminate")
    assert (response.status, response.kind) == (409, "invalid-transition")


async def test_another_namespace_knows_nothing_of_a_run(house: House) -> None:
    run_id = await house.start_run()
    there = {"Aiki-Namespace": "there"}
    assert (await house.get(f"runs/{run_id}", headers=there)).status == 404
    assert (await house.get("runs", headers=there)).json["runs"] == []


async def test_without_the_token_nothing_but_health_is_told(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", tokens=("first", "second")) as house:
        for path in ("runs", "openapi.json", "docs", "stream", "nothing", "/version", "/healthz/"):
            refused = await house.get(path)
            assert (refused.status, refused.kind) == (401, "unauthorized"), path
            assert refused.headers["www-authenticate"].startswith("Bearer")
        call = {"data": encode_calls([GetServerInfo()]), "headers": {"Content-Type": MEDIA_TYPE}}
        assert (await house.request("POST", PATH, **call)).status == 401
        for path in ("/healthz", "/readyz"):
            assert (await house.get(path)).status == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer first", 200),
        ("bearer second", 200),
        ("Bearer firs", 401),
        ("Bearer first2", 401),
        ("Barrel first", 401),
        ("first", 401),
        ("Bearer ", 401),
        ("Bearer \xe4", 401),
    ],
)
async def test_only_a_known_token_lets_in(tmp_path: Path, header: str, status: int) -> None:
    async with House(tmp_path / "a.db", tokens=("first", "second")) as house:
        response = await house.get("runs", headers={"Authorization": header})
        assert response.status == status


async def test_an_operation_of_another_role_is_forbidden(tmp_path: Path) -> None:
    viewer = Access(roles=frozenset({"viewer"}))
    async with House(tmp_path / "a.db", access=viewer) as house:
        assert (await house.get("runs")).status == 200
        for refused in (
            await house.post("runs", START),
            await house.request("PUT", "namespace/retention", json={"retention_ms": None}),
            await house.get("workers/w/presence?number=1"),
        ):
            assert (refused.status, refused.kind) == (403, "forbidden")
        (error,) = await house.calls(SetRetention(retention_ms=None))
        assert "lacks the role admin" in str(error)


async def test_a_peer_of_another_protocol_is_told_both(house: House) -> None:
    for spoken, status in (("1", 200), ("2", 426), ("0", 426), ("x", 400)):
        response = await house.request(
            "POST",
            PATH,
            data=encode_calls([GetServerInfo()]),
            headers={"Content-Type": MEDIA_TYPE, "Aiki-Protocol": spoken},
        )
        assert response.status == status
        if status == 426:
            assert response.headers["aiki-protocol"] == "1"
            assert f"speaks protocol {spoken}" in response.json["detail"]


async def test_one_bad_call_leaves_its_neighbours_alone(house: House) -> None:
    fine = StartRun(id=new_id(), workflow="orders", version="1.0", input=b"{}")
    bad = StartRun(id=new_id(), workflow="a:b", version="1.0", input=b"{}")
    started, refused, info = await house.calls(
        StartRuns(starts=(fine,)), StartRuns(starts=(bad,)), GetServerInfo()
    )
    assert started[0].created
    assert isinstance(refused, InvalidRequest)
    assert info.store


async def test_a_payload_that_is_no_json_does_not_spoil_the_answer(house: House) -> None:
    for payload in (b"\xff\x00", b'"\xff"', b"{", b"[" * 100_000):
        start = StartRun(id=new_id(), workflow="orders", version="1.0", input=payload)
        await house.calls(StartRuns(starts=(start,)))
    worker = {"incarnation": "w", "name": "w", "lease_ms": 5_000, "workflows": []}
    await house.post("workers", worker)
    claim = {"offers": [{"workflow": "orders", "version": "1.0"}], "limit": 10}
    claimed = (await house.post("workers/w/claims", claim)).json["runs"]
    assert len(claimed) == 4
    assert {"$bytes": "/wA="} in [run["input"] for run in claimed]


async def test_a_compressed_body_is_inflated(house: House) -> None:
    body = gzip.compress(json.dumps(START).encode())
    headers = JSON | {"Content-Encoding": "gzip"}
    response = await house.request("POST", "runs", data=body, headers=headers)
    assert response.status == 201
