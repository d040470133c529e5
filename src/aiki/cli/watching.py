"""Watching: one run followed to its end, or all; as a live table, plain lines or JSON lines."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiki.cli.output import Output, clean, payload, rich_table, time
from aiki.cli.reports import reasons
from aiki.client.client import Client
from aiki.model.run import RunResult
from aiki.operations.catalog import OVERLAP_MS, Change, GetChanges
from aiki.operations.runs import GetHistory, GetRun, History

if TYPE_CHECKING:
    from rich.live import Live

_WAIT_MS = 30_000
_REFRESH_MS = 500
_DONE = {"completed", "failed", "discarded", "lost"}


async def follow(client: Client, run_id: str, output: Output) -> int:
    """Show every change until the run ends; answers the exit code."""
    if output.on_terminal and not output.as_json:
        result = await _draw(client, run_id)
    else:
        result = await _print(client, run_id, output)
    return 0 if result.run.status == "completed" else 1


async def _print(client: Client, run_id: str, output: Output) -> RunResult:
    """One line for each transition: those that came in between are not left out."""
    shown = -1
    while True:
        wait_ms = 0 if shown < 0 else _WAIT_MS
        result = await client.call(GetRun(id=run_id, wait_ms=wait_ms, after_revision=shown))
        if result.run.revision <= shown and not result.ended:
            continue
        history = await client.call(GetHistory(id=run_id))
        for each in history.transitions:
            # What came after `result` was read is shown with the next one, which has its end.
            if not shown < each.revision <= result.run.revision:
                continue
            is_end = result.ended and each.revision == result.run.revision
            if output.as_json:
                output.json_line(_record(history, each.revision, result if is_end else None))
            else:
                output.line(
                    time(each.at), each.status, each.reason, _ending(result) if is_end else ""
                )
        shown = result.run.revision
        if result.ended:
            return result


async def follow_all(
    client: Client, workflow: str | None, statuses: frozenset[str], output: Output
) -> int:
    """Show each transition of the namespace's runs, until it is interrupted."""
    cursor: int | None = None
    seen: dict[tuple[str, int], int] = {}
    while True:
        found = await client.call(GetChanges(cursor=cursor, wait_ms=_WAIT_MS))
        cursor = found.cursor
        for each in found.changes:
            known = (each.run_id, each.revision) in seen
            seen[each.run_id, each.revision] = each.at
            if known or workflow not in (None, each.workflow):
                continue
            if not statuses or each.status in statuses:
                _show_change(each, output)
        # What is older than the overlap never comes again.
        oldest = cursor - OVERLAP_MS
        seen = {key: at for key, at in seen.items() if at >= oldest}


def _show_change(change: Change, output: Output) -> None:
    if output.as_json:
        output.json_line(change)
    else:
        output.line(time(change.at), change.run_id, change.workflow, change.status, change.reason)


def _record(history: History, revision: int, ended: RunResult | None) -> dict[str, Any]:
    step = next(each for each in history.transitions if each.revision == revision)
    record: dict[str, Any] = {
        "id": step.run_id, "revision": revision, "at": step.at, "status": step.status,
        "reason": step.reason, "attempt": step.attempt,
    }  # fmt: skip
    if ended is not None:
        record |= {"output": ended.output, "failure": ended.failure}
    return record


def _ending(result: RunResult) -> str:
    return payload(result.output) or "; ".join(reasons(result.failure))


async def _draw(client: Client, run_id: str) -> RunResult:
    """A table that is drawn anew while the run goes on; its records make no transition."""
    from rich.live import Live

    with Live(auto_refresh=False, transient=False) as live:
        while True:
            result = await client.call(GetRun(id=run_id))
            history = await client.call(GetHistory(id=run_id))
            _show(live, result, history)
            if result.ended:
                return result
            waiting = GetRun(id=run_id, wait_ms=_WAIT_MS, after_revision=result.run.revision)
            change = asyncio.ensure_future(client.call(waiting))
            await asyncio.wait([change], timeout=_REFRESH_MS / 1000)
            change.cancel()


def _show(live: Live, result: RunResult, history: History) -> None:
    run = result.run
    rows = [
        ("run", run.id, ""),
        (f"{run.workflow} {run.version}", run.status, _ending(result) if result.ended else ""),
        *_progress(history),
        *(("waits for", each.name, time(each.due_at)) for each in history.waits[:5]),
    ]
    live.update(rich_table(("", "", ""), [tuple(map(clean, row)) for row in rows]), refresh=True)


def _progress(history: History) -> list[tuple[str, str, str]]:
    """Tasks by name: how many are recorded, how many run or will be tried again."""
    recorded = Counter(each.name for each in history.entries if each.kind in ("task", "child"))
    running = Counter(each.name for each in history.attempts if each.status not in _DONE)
    names = dict.fromkeys([*recorded, *running])
    return [
        (name, f"{recorded[name]} done", f"{running[name]} running" if running[name] else "")
        for name in names
    ]
