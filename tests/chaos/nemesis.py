"""What goes wrong, and when: a function of the seed alone; and who does it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, NamedTuple

from tests.chaos.processes import Process
from tests.chaos.services import BROKERS, SupervisedBroker, end_sessions

SECONDS = (1.0, 4.0)
"""Between two faults."""
LEASES = (1.0, 3.0)
"""How long something is frozen."""
KILL_WORKER, FREEZE_WORKER = "worker killed", "worker frozen"
KILL_SERVER, FREEZE_SERVER = "server killed", "server frozen"
WIPE_BROKER, FREEZE_BROKER, KILL_BROKER = "broker wiped", "broker frozen", "broker killed"
END_SESSIONS = "sessions ended"
_PROCESSES = (KILL_WORKER, FREEZE_WORKER, KILL_SERVER, FREEZE_SERVER)


class Fault(NamedTuple):
    """One of these, at so many seconds; `number` chooses whom it hits, `leases` how long."""

    at: float
    kind: str
    number: int
    leases: float


def kinds_for(store: str, queue: str) -> tuple[str, ...]:
    """What can go wrong with these."""
    brokers = (WIPE_BROKER, FREEZE_BROKER, KILL_BROKER) if queue in BROKERS else ()
    databases = () if store == "sqlite" else (END_SESSIONS,)
    return (*_PROCESSES, *brokers, *databases)


def schedule(seed: int, seconds: float, kinds: tuple[str, ...]) -> list[Fault]:
    """Faults over so many seconds; each kind comes before any comes twice."""
    random = Random(f"faults {seed}")
    found: list[Fault] = []
    at, left = random.uniform(*SECONDS), list[str]()
    while at < seconds:
        if not left:
            left = random.sample(kinds, len(kinds))
        found.append(Fault(at, left.pop(), random.randrange(1_000), random.uniform(*LEASES)))
        at += random.uniform(*SECONDS)
    return found


class Nemesis:
    """Carries out faults; one victim suffers one at a time, and is repaired after each."""

    def __init__(
        self,
        servers: Sequence[Process],
        workers: Sequence[Process],
        brokers: Sequence[SupervisedBroker],
        database: str,
        lease_ms: int,
    ) -> None:
        self._servers = servers
        self._workers = workers
        self._brokers = brokers
        self._broker_lock = asyncio.Lock()
        self._database = database
        self._lease_ms = lease_ms
        self.faults: Counter[str] = Counter()
        """Those that were carried out, by kind."""
        self.failures: list[str] = []
        """What could not be started again."""

    async def carry_out(self, faults: Sequence[Fault]) -> None:
        """All of them, each at its time; returns when what they broke is repaired."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as repairs:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                repairs.create_task(self._carry_out(fault))

    async def _carry_out(self, fault: Fault) -> None:
        try:
            await self._deed_of(fault)
        except Exception as error:
            # What does not come back makes the cell wrong, and the others go on.
            self.failures.append(f"after {fault.kind!r}: {error!r}")
        self.faults[fault.kind] += 1

    def _deed_of(self, fault: Fault) -> Coroutine[Any, Any, None]:
        seconds = fault.leases * self._lease_ms / 1_000
        match fault.kind:
            case kind if kind in (KILL_SERVER, KILL_WORKER):
                return _kill(self._victim(fault))
            case kind if kind in (FREEZE_SERVER, FREEZE_WORKER):
                return _freeze(self._victim(fault), seconds)
            case kind if kind == END_SESSIONS:
                return end_sessions(self._database)
            case kind:
                return self._harm(self._brokers[fault.number % len(self._brokers)], kind, seconds)

    def _victim(self, fault: Fault) -> Process:
        parts = self._servers if fault.kind in (KILL_SERVER, FREEZE_SERVER) else self._workers
        return parts[fault.number % len(parts)]

    async def _harm(self, broker: SupervisedBroker, kind: str, seconds: float) -> None:
        async with self._broker_lock:
            if kind == FREEZE_BROKER:
                broker.freeze()
                try:
                    await asyncio.sleep(seconds)
                finally:
                    broker.thaw()
                return
            deed: Callable[[], None] = broker.wipe if kind == WIPE_BROKER else broker.kill
            await asyncio.to_thread(deed)
            await asyncio.to_thread(broker.await_answer)


async def _kill(victim: Process) -> None:
    async with victim.lock:
        await victim.kill()
        await victim.start()


async def _freeze(victim: Process, seconds: float) -> None:
    async with victim.lock:
        victim.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            victim.signal(signal.SIGCONT)
