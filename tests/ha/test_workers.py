"""Laws: what a dead or silent worker executed goes on elsewhere, and its late results are refused.

Two servers on PostgreSQL and two workers, in processes of their own.
"""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiki
from tests.crash.processes import Process
from tests.ha.journey import GATE, LEDGER, held, lines, repeated
from tests.ha.site import LIMIT_SECONDS, check_records, happens, site_on
from tests.services import postgres

postgres_url = postgres.postgres_url
LIMIT = timedelta(seconds=LIMIT_SECONDS)
RUNS = 10


def _count(ledger: Path, process: Process, words: str) -> int:
    """How many lines of this process end so."""
    mine = (line for line in lines(ledger) if line.process == str(process.pid))
    return sum(line.what.endswith(words) for line in mine)


async def _has_all(ledger: Path, process: Process) -> bool:
    """Whether all runs are, or were, executed by this process."""
    return _count(ledger, process, "begins") >= RUNS


async def _start(client: aiki.Client) -> list[aiki.RunHandle[str]]:
    return [await held.enqueue(client, str(number)) for number in range(RUNS)]


async def _results(handles: list[aiki.RunHandle[str]]) -> set[str]:
    return set(await asyncio.gather(*(handle.result(timeout=LIMIT) for handle in handles)))


async def test_runs_of_a_worker_that_is_killed_go_on_elsewhere_in_a_moment(
    postgres_url: str, tmp_path: Path
) -> None:
    """Its lease is ten minutes: the end of its connection tells."""
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    environment = {LEDGER: str(ledger)}
    async with site_on(postgres_url) as site, aiki.connect(site.url) as client:
        victim = await site.start_worker({**environment, GATE: str(gate)}, lease_ms=600_000)
        handles = await _start(client)
        await happens(partial(_has_all, ledger, victim))
        other = await site.start_worker(environment, lease_ms=600_000)
        victim.kill()
        begun = time.monotonic()
        assert await _results(handles) == {str(other.pid)}
        assert time.monotonic() - begun < 3
    assert sorted(repeated(ledger).values()) == [3] * RUNS, "begun twice, ended once"
    await check_records(postgres_url, {handle.id for handle in handles})


async def test_late_results_of_a_worker_that_was_frozen_are_refused(
    postgres_url: str, tmp_path: Path
) -> None:
    """Its connections stay open, so its lease tells.

    Another worker is in the middle of the same runs when the results come, so that nothing but the
    epoch of the claim tells whose they are.
    """
    ledger, gate, other_gate = tmp_path / "ledger", tmp_path / "gate", tmp_path / "other"
    environment = {LEDGER: str(ledger)}
    async with site_on(postgres_url) as site, aiki.connect(site.url) as client:
        victim = await site.start_worker({**environment, GATE: str(gate)}, lease_ms=1_000)
        handles = await _start(client)
        await happens(partial(_has_all, ledger, victim))
        victim.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        other = await site.start_worker({**environment, GATE: str(other_gate)})
        await happens(partial(_has_all, ledger, other))
        assert time.monotonic() - begun < 8
        gate.touch()
        victim.send_signal(signal.SIGCONT)
        # It stops when what it executes has ended and was reported.
        victim.send_signal(signal.SIGTERM)
        assert await victim.wait() == 0
        assert _count(ledger, victim, "ends") > 0, "it had results to report"
        assert {await handle.status() for handle in handles} == {"running"}
        other_gate.touch()
        assert await _results(handles) == {str(other.pid)}
    await check_records(postgres_url, {handle.id for handle in handles})
