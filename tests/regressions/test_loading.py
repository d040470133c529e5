"""Memos that are loaded page by page: what happens meanwhile is not missed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiki import Run, event, task, workflow
from aiki.operations.base import Operation
from aiki.operations.work import LoadMemo
from tests.support.app import LIMIT, App, Ledger, holds, until

if TYPE_CHECKING:
    import pytest

begin = event("begin", int)
go = event("go", int)
ledger = Ledger()
gates: list[asyncio.Event] = []


@task
async def large(n: int) -> str:
    return "x" * 400_000


@task
async def pass_gate() -> None:
    await gates[0].wait()


@task
async def note(n: int) -> None:
    ledger.add(n)


@workflow("bulky").version("1.0.0")
async def bulky(run: Run) -> int:
    for n in range(6):
        await large(run, n)
    await run.wait(begin)
    beside = asyncio.create_task(pass_gate(run))
    number = await run.wait(go)
    await note(run, number)
    await beside
    return number


async def test_an_event_that_comes_between_two_pages_is_taken_at_once(
    app: App, resident: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task keeps the run from rest: no new claim would bring the event."""
    ledger.lines.clear()
    gates[:] = [asyncio.Event()]
    app.work(bulky, max_resident_runs=0)
    handle = await bulky.enqueue(app.client)
    await until(handle, "awaiting_event")
    kind = type(await app.client.api())
    call = kind.call
    sent = False

    async def call_slowly(self: Any, operation: Operation[Any]) -> Any:
        nonlocal sent
        answer = await call(self, operation)
        if isinstance(operation, LoadMemo) and operation.from_number > 1 and not sent:
            sent = True
            await handle.send(go, 7)
        return answer

    monkeypatch.setattr(kind, "call", call_slowly)
    await handle.send(begin, 1)
    await holds(lambda: ledger.lines)
    assert sent
    gates[0].set()
    assert await handle.result(timeout=LIMIT) == 7
