"""An execution: workflow code run against its records, without any I/O.

It takes entries and answers calls. Whatever asks for something new is handed out in `fresh`; the
caller (a worker, a test, a check of new code against old runs) decides what to do about it. The
rules are those of the replay contract (`docs/replay.md`):

- an entry is delivered only when the run is at rest, the lowest number that was asked for first;
- new calls are held until every recorded entry has been delivered;
- if nothing can be delivered and entries are left, code and records have diverged.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from aiki.clock import Instant
from aiki.errors import Evicted, ForbiddenInWorkflow
from aiki.model.task import Divergence, Entry, Key
from aiki.workflow.calls import Call, CallKind
from aiki.workflow.loop import RunFuture, RunTask, make_loop

_FOREIGN_LOOP = "attached to a different loop"


class Returned(NamedTuple):
    """The workflow returned."""

    value: Any


class Raised(NamedTuple):
    """The workflow raised."""

    error: BaseException


class Execution:
    """One attempt of a run in memory."""

    def __init__(self, entries: Sequence[Entry], instant: Instant, run_id: str = "") -> None:
        self.loop = make_loop(self, instant, crc32(run_id.encode()) << 20)
        self.fresh: list[Call] = []
        """New calls, in the order in which they were made."""
        self.withdrawn: list[Call] = []
        """Calls that the workflow gave up."""
        self.live: dict[Key, Call] = {}
        """Calls that were asked for and not answered."""
        self.outcome: Returned | Raised | None = None
        self.delivered = 0
        self.repeating = False
        """Everything up to rest was executed before: nothing of it may be seen twice."""
        self.expected: set[Key] = set()
        """Recorded starts without an end: asked for before anything new may begin."""
        self.arguments: dict[Key, bytes] = {}
        self._recorded: dict[Key, Entry] = {entry.key: entry for entry in entries}
        self._cancels = [e.number for e in entries if e.kind == "cancel"]
        self._undelivered = {entry.number: entry for entry in entries}
        self._deliverable: list[int] = []
        self._held: dict[Key, Call] = {}
        self._ordinals: dict[str, int] = {}
        self._timers: dict[asyncio.TimerHandle, Key] = {}
        self._handles: dict[Key, asyncio.TimerHandle] = {}
        self._main: RunTask[Any] | None = None

    # Life

    def start(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin the workflow; nothing runs before the first turn."""
        task = self.loop.create_task(main())
        assert isinstance(task, RunTask)
        self._main = task
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.outcome = Raised(asyncio.CancelledError())
            return
        error = task.exception()
        if error is None:
            self.outcome = Returned(task.result())
        elif isinstance(error, RuntimeError) and _FOREIGN_LOOP in str(error):
            self.outcome = Raised(_foreign(error))
        else:
            self.outcome = Raised(error)

    def evict(self) -> None:
        """Forget the run: its coroutines are closed, and can do nothing any more."""
        self.loop.evict()
        self.fresh.clear()
        self.withdrawn.clear()
        self.live.clear()

    @property
    def closed(self) -> bool:
        """Whether the run was evicted."""
        return self.loop.closed

    @property
    def replaying(self) -> bool:
        """Whether recorded entries are left to deliver."""
        return bool(self._undelivered)

    @property
    def instant(self) -> Instant:
        """The run's clock."""
        return self.loop.instant

    # Asking

    def ordinal(self, address: str) -> int:
        """How many calls at this address were made before this one."""
        count = self._ordinals.get(address, 0)
        self._ordinals[address] = count + 1
        return count

    def ask(self, kind: CallKind, address: str, name: str, **options: Any) -> Call:
        """Make a call. Its ordinal is fixed now; its answer comes by an entry."""
        if self.closed:
            raise Evicted
        key = Key(address, self.ordinal(address))
        call = Call(kind, key, name, RunFuture(self.loop), **options)
        self.live[key] = call
        self.expected.discard(key)
        entry = self._recorded.get(key)
        if entry is not None and entry.number in self._undelivered:
            if call.waited:
                heapq.heappush(self._deliverable, entry.number)
        elif self._undelivered or self.expected or self._held:
            self._held[key] = call
        else:
            self.fresh.append(call)
        return call

    def wait_for(self, call: Call) -> None:
        """Workflow code begins to wait for a call that it made before."""
        if call.waited:
            return
        call.waited = True
        entry = self._recorded.get(call.key)
        if entry is not None and entry.number in self._undelivered:
            heapq.heappush(self._deliverable, entry.number)

    def withdraw(self, call: Call) -> None:
        """The workflow gave up a call: whatever still comes of it is refused."""
        if self.live.pop(call.key, None) is None:
            return
        held = self._held.pop(call.key, None) is not None
        if not held or call.kind == "child":
            self.withdrawn.append(call)

    def arm(self, handle: asyncio.TimerHandle, delay_ms: int) -> None:
        """A timer of plain asyncio: known by its delay and ordinal."""
        due_at = self.instant + delay_ms
        call = self.ask("timer", f"timer:{delay_ms}", "timer", due_at=due_at)
        self._timers[handle] = call.key
        self._handles[call.key] = handle

    def disarm(self, handle: asyncio.TimerHandle) -> None:
        """The timer was cancelled, or has fired."""
        key = self._timers.pop(handle, None)
        if key is not None:
            self._handles.pop(key, None)
            call = self.live.get(key)
            if call is not None:
                self.withdraw(call)

    # Delivering

    def next_recorded(self) -> Entry | None:
        """The recorded entry to deliver now: the lowest number among the calls asked for."""
        while self._deliverable:
            number = self._deliverable[0]
            entry = self._undelivered.get(number)
            call = self.live.get(entry.key) if entry is not None else None
            if entry is None or call is None or not call.waited:
                heapq.heappop(self._deliverable)
                continue
            break
        lowest = self._deliverable[0] if self._deliverable else None
        if self._cancels and self._cancels[0] == min(self._undelivered):
            return self._undelivered[self._cancels[0]]
        return None if lowest is None else self._undelivered[lowest]

    def deliver(self, entry: Entry) -> None:
        """Hand an entry to whoever waits for it. The run must be at rest."""
        self.delivered += 1
        if self._undelivered.pop(entry.number, None) is None:
            self.repeating = False
        self.loop.instant = max(self.loop.instant, entry.at)
        if entry.kind == "cancel":
            self._cancels = [number for number in self._cancels if number != entry.number]
            if self._main is not None:
                self._main.cancel()
            return
        call = self.live.pop(entry.key, None)
        if call is None:
            return
        handle = self._handles.pop(call.key, None)
        if handle is not None:
            self._timers.pop(handle, None)
            self.loop.fire(handle)
        elif not call.future.done():
            call.future.set_result(entry)

    def release_held(self) -> None:
        """At rest: begin what was held, once all that was recorded has been asked for."""
        if self._undelivered or self.expected or not self._held:
            return
        self.fresh.extend(self._held.values())
        self._held.clear()

    def leave_out(self, numbers: Collection[int], names: Collection[str]) -> None:
        """Entries that an operator or the code waives: never asked for, never delivered."""
        for entry in list(self._undelivered.values()):
            if entry.number in numbers or entry.name in names:
                del self._undelivered[entry.number]
                if self._recorded.get(entry.key) is entry:
                    del self._recorded[entry.key]

    def known(self, key: Key) -> bool:
        """Whether an entry is recorded for this call."""
        return key in self._recorded

    # Divergence

    def divergence(self) -> Divergence | None:
        """Where code and records part, judged at rest with nothing to deliver."""
        left = [entry for entry in self._undelivered.values() if entry.kind != "cancel"]
        asked = list(self._held.values())
        if not left and not (self.expected and asked):
            return None
        if self.outcome is not None and not asked:
            return None
        missing = [f"{e.name or e.kind} (entry {e.number})" for e in left]
        missing += [f"{key} (started)" for key in sorted(self.expected)]
        return Divergence(
            left=tuple(missing),
            asked=tuple(str(call.key) for call in asked) or ("nothing new",),
            left_numbers=tuple(entry.number for entry in left),
            left_starts=tuple(str(key) for key in sorted(self.expected)),
        )

    @property
    def held(self) -> tuple[Call, ...]:
        """New calls that wait for the end of replay."""
        return tuple(self._held.values())

    @property
    def undelivered(self) -> tuple[Entry, ...]:
        """Recorded entries that were not delivered yet, by number."""
        return tuple(self._undelivered[number] for number in sorted(self._undelivered))


def _foreign(error: RuntimeError) -> ForbiddenInWorkflow:
    forbidden = ForbiddenInWorkflow(
        "the workflow waited for a future of another event loop, which cannot be replayed; "
        "put that in a task and call the task"
    )
    forbidden.__cause__ = error
    return forbidden
