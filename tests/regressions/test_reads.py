"""Reads that fail: whoever waits hears of it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from aiki import Run, workflow
from aiki.errors import ServiceError
from aiki.operations.runs import GetRun
from tests.support.app import App


@workflow("unread").version("1.0.0")
async def unread(run: Run) -> int:
    return 1


async def test_who_waits_for_a_result_hears_of_a_database_that_is_damaged(app: App) -> None:
    handle = await unread.enqueue(app.client)
    api = await app.client.api()

    async def fail(_: Any) -> Any:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.engine.store, "glance", fail)
        with pytest.raises(ServiceError, match=r"malformed|its log says more"):
            await api.call(GetRun(id=handle.id, wait_ms=30_000))
