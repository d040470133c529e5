"""Values that no database can keep are refused by name, and harm nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from aiki.errors import AikiError, InvalidRequest, NotFound, UsageError
from aiki.ids import new_id
from aiki.operations.base import Operation
from aiki.operations.runs import CancelRun, GetHistory, GetRun, StartRuns
from aiki.operations.work import Heartbeat, Holding
from tests.engine.support import Ring, claim_of, registration, start_of

HUGE = 2**70


@pytest.mark.parametrize(
    "operation",
    [
        StartRuns(starts=(start_of(priority=HUGE),)),
        StartRuns(starts=(start_of(priority=-2_000_000),)),
        StartRuns(starts=(start_of(),), command_id="a\0b"),
        registration(incarnation="w" * 300),
        registration(incarnation=""),
        registration(name="a\0b"),
        registration(lease_ms=HUGE),
        CancelRun(id="a\0b", command_id=new_id()),
        CancelRun(id=new_id(), command_id="\ud800"),
        claim_of("w\0"),
        GetRun(id="a\0b"),
        GetHistory(id="\ud800"),
        Heartbeat(incarnation="w\0", held=(Holding("\0", HUGE),)),
    ],
    ids=lambda operation: f"{type(operation).__name__}",
)
async def test_it_is_the_callers_mistake(ring: Ring, operation: Operation[Any]) -> None:
    try:
        await ring.call(operation)
    except AikiError as error:
        assert isinstance(error, UsageError), error
    else:
        assert isinstance(operation, StartRuns), "only SQLite keeps a NUL in a key"


async def test_its_neighbours_are_served(ring: Ring) -> None:
    bad, good = StartRuns(starts=(start_of(priority=HUGE),)), StartRuns(starts=(start_of(),))
    refused, started = await ring.together(bad, good)
    assert isinstance(refused, InvalidRequest)
    assert await ring.status(started[0].id) == "queued"
    assert isinstance(await ring.refused(GetRun(id="no-uuid")), NotFound)
