"""Runs that are executed alone: nothing beside them, and nobody waits for them in vain."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from aiki import Run, task, workflow
from tests.support.app import LIMIT, App, Ledger, holds, until
from tests.support.databases import change_at

ledger = Ledger()
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.lines.clear()
    gates.clear()


@task
async def pass_gate(name: str) -> None:
    ledger.add(f"{name} begins")
    await gates.setdefault(name, asyncio.Event()).wait()
    ledger.add(f"{name} ends")


@task
async def note(name: str) -> None:
    ledger.add(name)


@workflow("gated").version("1.0.0")
async def gated(run: Run, name: str) -> None:
    await pass_gate(run, name)


@workflow("poison").version("1.0.0")
async def poison(run: Run) -> None:
    await pass_gate(run, "alone")


@workflow("ordinary").version("1.0.0")
async def ordinary(run: Run) -> None:
    await note(run, "ordinary")


async def test_nothing_is_taken_beside_a_run_that_is_executed_alone(
    app: App, tmp_path: Path
) -> None:
    alone = await poison.enqueue(app.client)
    change_at(
        tmp_path / "aiki.db", "UPDATE run SET losses = 2", "UPDATE outbox SET alone = (1 = 1)"
    )
    app.work(poison, ordinary)
    await holds(lambda: ledger.lines)
    handles = [await ordinary.enqueue(app.client) for _ in range(2)]
    for _ in range(50):
        assert [await handle.status() for handle in handles] == ["queued", "queued"]
    gates["alone"].set()
    for handle in (alone, *handles):
        await handle.result(timeout=LIMIT)
    assert ledger.lines == ["alone begins", "alone ends", "ordinary", "ordinary"]


async def test_a_busy_worker_goes_on_when_another_took_the_run_to_be_alone(
    app: App, tmp_path: Path
) -> None:
    app.work(gated, poison, ordinary)
    long = await gated.enqueue(app.client, "long")
    await holds(lambda: ledger.count("long begins"))
    alone = await poison.options(delay=timedelta(seconds=5)).enqueue(app.client)
    change_at(tmp_path / "aiki.db", f"UPDATE run SET losses = 2 WHERE id = '{alone.id}'")
    await app.pass_time(5_000)
    await until(alone, "queued")
    app.work(poison)
    await holds(lambda: ledger.count("alone begins"))
    gates["alone"].set()
    await until(alone, "completed")
    await (await ordinary.enqueue(app.client)).result(timeout=LIMIT)
    gates["long"].set()
    await long.result(timeout=LIMIT)
