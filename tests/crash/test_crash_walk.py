"""Seeded SIGKILLs over runs that mix everything: each ends right, each result is recorded once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import aiki
from aiki import failpoints
from tests.crash.program import POKE, expected, poke, walk

KILLS = int(os.environ.get("AIKI_TEST_KILLS", "8"))
RUNS = 12
PATIENCE = timedelta(seconds=90)
Runs = list[tuple[int, aiki.RunHandle[int]]]


async def start_worker(database: Path, failpoint: str = "") -> asyncio.subprocess.Process:
    """A worker in a process of its own, that may be set to die at a named place."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if failpoint:
        environment["AIKI_FAILPOINT"] = failpoint
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.crash.program",
        str(database),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        limit=1 << 20,
    )


async def kill_after(worker: asyncio.subprocess.Process, lines: int) -> int:
    """SIGKILL the worker once it has printed so many lines; answers how many it printed."""
    assert worker.stdout is not None
    seen = 0
    try:
        async with asyncio.timeout(3):
            while seen < lines and await worker.stdout.readline():
                seen += 1
    except TimeoutError:
        # Everything may wait for the recovery of what an earlier process held.
        pass
    if worker.returncode is None:
        try:
            worker.send_signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
    await drain(worker)
    return seen


async def drain(worker: asyncio.subprocess.Process) -> None:
    """Read what is left, so that the process can be reaped."""
    assert worker.stdout is not None
    while await worker.stdout.read(1 << 16):
        pass
    await worker.wait()


async def start(client: aiki.Client, seed: int) -> aiki.RunHandle[int]:
    """A run whose event is sent before it can wait for it."""
    handle = await walk.enqueue(client, seed)
    await handle.send(poke, POKE, key="poke")
    return handle


async def kill_again_and_again(
    client: aiki.Client, database: Path, chance: random.Random, runs: Runs
) -> int:
    """Kill worker after worker, with new work for each; how many died while they worked."""
    deaths = 0
    for _ in range(KILLS):
        for _ in range(2):
            seed = chance.randrange(1 << 30)
            runs.append((seed, await start(client, seed)))
        failpoint = ""
        if chance.random() < 0.5:
            failpoint = f"{chance.choice(failpoints.NAMES)}:{chance.randrange(1, 12)}"
        worker = await start_worker(database, failpoint)
        deaths += await kill_after(worker, chance.randrange(2, 40)) > 1
    return deaths


@pytest.mark.crash
@pytest.mark.timeout(1800)
async def test_every_run_ends_right_and_each_result_is_recorded_once(tmp_path: Path) -> None:
    seed = int(os.environ.get("AIKI_TEST_SEED", "1"))
    chance = random.Random(seed)
    database = tmp_path / "crash.db"
    runs: Runs = []
    async with aiki.connect(f"sqlite:///{database}") as client:
        for number in range(RUNS):
            runs.append((number, await start(client, number)))
        deaths = await kill_again_and_again(client, database, chance, runs)
        assert deaths >= KILLS // 2, "too few workers were killed while they worked"
        worker = await start_worker(database)
        draining = asyncio.create_task(drain(worker))
        ended = [await handle.result(timeout=PATIENCE) for _, handle in runs]
        worker.send_signal(signal.SIGKILL)
        await draining
    assert ended == [expected(seed) for seed, _ in runs]
    check_records(database)


def check_records(database: Path) -> None:
    """What the database must hold after any storm."""
    connection = sqlite3.connect(database)
    recovered = "SELECT count(*) FROM transition WHERE reason = 'recovered'"
    assert connection.execute(recovered).fetchone()[0] > 0, "no run was ever interrupted"
    for name, query in INVARIANTS.items():
        assert connection.execute(query).fetchall() == [], name
    connection.close()


INVARIANTS = {
    "a call has one entry": """
        SELECT run_id, attempt, address, ordinal FROM entry
        GROUP BY run_id, attempt, address, ordinal HAVING count(*) > 1""",
    "entries have no gaps": """
        SELECT run_id FROM entry GROUP BY run_id, attempt
        HAVING max(number) <> count(*) OR min(number) <> 1""",
    "epochs never go back": """
        SELECT run_id FROM (
            SELECT run_id, epoch, lag(epoch) OVER (PARTITION BY run_id, attempt ORDER BY number)
                AS before FROM entry)
        WHERE before > epoch""",
    "everything ended": """
        SELECT id FROM run WHERE status NOT IN ('completed')""",
    "nothing is ready, waits or is open": """
        SELECT run_id FROM outbox UNION ALL SELECT run_id FROM wait
        UNION ALL SELECT run_id FROM task_attempt WHERE status = 'running'""",
    "one ending a run": """
        SELECT run_id FROM transition WHERE status IN ('completed', 'failed', 'cancelled')
        GROUP BY run_id HAVING count(*) <> 1""",
    "an event is taken once": """
        SELECT fact_id FROM entry WHERE fact_id IS NOT NULL
        GROUP BY fact_id HAVING count(*) > 1""",
    "a child is started once": """
        SELECT parent_id, key FROM child GROUP BY parent_id, key HAVING count(*) > 1""",
    "timers are never early": """
        SELECT run_id FROM entry WHERE kind = 'timer' AND at < due_at""",
}
