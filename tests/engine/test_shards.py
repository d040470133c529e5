"""Shards: who executes what, and which shard a key belongs to."""

from __future__ import annotations

from collections import Counter

import pytest

from aiki.errors import InvalidRequest
from aiki.ids import new_id
from aiki.model.run import RunOptions
from aiki.model.shards import shard_of_key
from aiki.operations.bulk import RerunRun
from aiki.operations.runs import StartRun, StartRuns
from tests.engine.support import COMPLETE, Ring, ids_of, start_of

SHARDS = ("eu-west", "us-east", "ap-south")
KEYS = [f"customer-{number}" for number in range(3_000)]
KNOWN = {"customer-1": "ap-south", "customer-2": "eu-west", "customer-3": "ap-south"}
"""Computed once: another answer would send running customers elsewhere."""


def by_key(key: str, shards: tuple[str, ...] = SHARDS) -> StartRun:
    return start_of(options=RunOptions(shard_key=key), shards=shards)


@pytest.mark.parametrize("key", KNOWN)
def test_a_key_belongs_to_the_same_shard_for_ever(key: str) -> None:
    assert shard_of_key(key, SHARDS) == KNOWN[key]
    assert shard_of_key(key, tuple(reversed(SHARDS))) == KNOWN[key]


def test_keys_are_spread_evenly() -> None:
    counted = Counter(shard_of_key(key, SHARDS) for key in KEYS)
    assert set(counted) == set(SHARDS)
    assert all(900 < count < 1_100 for count in counted.values())


def test_a_new_shard_takes_keys_and_moves_no_others() -> None:
    more = (*SHARDS, "sa-east")
    moved = [key for key in KEYS if shard_of_key(key, SHARDS) != shard_of_key(key, more)]
    assert {shard_of_key(key, more) for key in moved} == {"sa-east"}
    assert 600 < len(moved) < 900


async def test_workers_of_a_shard_execute_its_runs_and_no_others(ring: Ring) -> None:
    eu, us, none = (
        await ring.start(shard="eu-west"),
        await ring.start(shard="us-east"),
        await ring.start(),
    )
    await ring.worker(shards=("eu-west",))
    await ring.worker("worker-2")
    assert ids_of(await ring.claim(shards=("eu-west",))) == [eu]
    assert ids_of(await ring.claim("worker-2")) == [none]
    assert ids_of(await ring.claim("worker-2", shards=("eu-west",))) == []
    assert ids_of(await ring.claim("worker-2", shards=("eu-west", "us-east"))) == [us]


async def test_a_run_keeps_the_shard_of_its_key(ring: Ring) -> None:
    start = by_key("customer-1")
    await ring.call(StartRuns(starts=(start,)))
    view = (await ring.result(start.id)).run
    assert (view.shard, view.shard_key) == ("ap-south", "customer-1")
    await ring.worker(shards=SHARDS)
    run = await ring.take(shards=("ap-south",))
    await ring.report(run, COMPLETE)
    again = (await ring.call(RerunRun(id=start.id, command_id=new_id()))).id
    assert (await ring.result(again)).run.shard == "ap-south"


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (by_key("customer-1", ()), "names no shards"),
        (start_of(options=RunOptions(shard_key="a"), shard="b", shards=SHARDS), "give one of them"),
        (by_key("customer-1", ("a:b",)), "':'"),
        (by_key(""), "shard key"),
    ],
)
async def test_what_names_no_shard_is_refused(ring: Ring, start: StartRun, complaint: str) -> None:
    error = await ring.refused(StartRuns(starts=(start,)))
    assert isinstance(error, InvalidRequest)
    assert complaint in error.message
