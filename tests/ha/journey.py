"""The application that the servers and workers of these tests execute, and its ledger.

Each execution of a task writes a line, with its idempotency key, to the file that
`AIKI_TEST_LEDGER` names. A task of `held` waits for as long as the file that `AIKI_TEST_GATE` names
to its process is not there.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import aiki
from aiki import Run, event, task, task_context, workflow

GATE = "AIKI_TEST_GATE"
LEDGER = "AIKI_TEST_LEDGER"
go = event("go", str)
_LONGEST_NAP_MS = 1_000


class Line(NamedTuple):
    """One execution of a task."""

    key: str
    process: str
    what: str


def note(what: str) -> None:
    """Write a line for the task that is executed here."""
    line = "\t".join((task_context().idempotency_key, str(os.getpid()), what))
    descriptor = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def lines(ledger: Path) -> list[Line]:
    """All executions so far."""
    if not ledger.exists():
        return []
    return [Line(*line.split("\t")) for line in ledger.read_text("utf-8").splitlines()]


def repeated(ledger: Path) -> dict[str, int]:
    """Keys that were executed more than once."""
    counted = Counter(line.key for line in lines(ledger))
    return {key: count for key, count in counted.items() if count > 1}


@task
async def step(what: str) -> str:
    note(what)
    return what


@task
async def stay(what: str) -> str:
    """Answers which process has executed it."""
    note(f"{what} begins")
    gate = os.environ.get(GATE)
    while gate is not None and not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.02)
    note(f"{what} ends")
    return str(os.getpid())


@workflow("errand").version("1")
async def errand(run: Run, name: str) -> str:
    return await step(run, f"{name} errand")


@workflow("journey").version("1", events=[go])
async def journey(run: Run, number: int) -> str:
    """Steps, a timer, a child and an event."""
    first = await step(run, f"{number} first")
    await run.sleep("nap", timedelta(milliseconds=nap_ms(number)))
    between = await errand(run, str(number))
    word = await run.wait(go)
    return " ".join((first, between, word, await step(run, f"{number} last")))


@workflow("held").version("1")
async def held(run: Run, name: str) -> str:
    return await stay(run, name)


WORKFLOWS = [journey, errand, held]


def nap_ms(number: int) -> int:
    """From 200 to 1000 ms."""
    return 200 + number * 37 % (_LONGEST_NAP_MS - 200)


def expected(number: int) -> str:
    """What the journey of this number returns."""
    return f"{number} first {number} errand word {number} last"


async def start_journey(client: aiki.Client, number: int) -> aiki.RunHandle[str]:
    """Start it, and send its event before it can wait for it."""
    handle = await journey.enqueue(client, number)
    await handle.send(go, "word", key="go")
    return handle
