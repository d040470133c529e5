"""Effects that were asked for and given up in one turn."""

from __future__ import annotations

import asyncio

from aiki import Run, event, workflow
from tests.support.app import LIMIT, App, until

ping = event("ping", int)
go = event("go")


@workflow("pinged").version("1.0.0")
async def pinged(run: Run) -> int:
    return await run.wait(ping)


@workflow("hasty").version("1.0.0")
async def hasty(run: Run) -> int:
    child = await run.start(pinged)
    sends = [asyncio.create_task(child.send(ping, n)) for n in (1, 2)]
    _, pending = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    for send in pending:
        send.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    await run.wait(go)
    return await child


async def test_a_send_that_was_cancelled_before_its_turn_is_not_recorded(app: App) -> None:
    """On replay nobody would ask for it."""
    app.work(hasty, pinged, max_resident_runs=0)
    handle = await hasty.enqueue(app.client)
    await until(handle, "awaiting_event")
    await handle.send(go)
    assert await handle.result(timeout=LIMIT) == 1
    entries = (await app.history(handle)).entries
    assert [entry.name for entry in entries if entry.kind == "effect"] == ["send"]
