"""The behaviour that every store must show: `StoreBehaviour`, applied to a `store` fixture.

A store's own test module makes a subclass and a fixture `store` that is open and empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from aiki.machine import TASK_LEGAL
from aiki.model.audit import AuditRecord
from aiki.model.failure import Failure, Raised, encode_failure
from aiki.model.run import Run, RunState, Transition
from aiki.model.task import Decision, Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.model.worker import DeadLetter, WorkerView, WorkflowSpec
from aiki.operations.catalog import Backlog, Namespace
from aiki.operations.runs import RunQuery
from aiki.operations.work import ChildRef, Offer
from aiki.store.protocol import Store, Transaction
from aiki.store.records import (
    ALL_NEWS,
    NO_NEWS,
    Announcement,
    AttemptRow,
    Consumed,
    EntryRow,
    EventKey,
    Held,
    Opening,
    Page,
    Place,
    Ready,
    Reference,
    Turn,
)

R = TypeVar("R")
OFFERS = (Offer("orders", "1.0", "source-1"),)
TEXTS = ["plain", "É", "e", "E", "e ", "e\u0301", "\U0001f600", "ß", "ss", "'\";--", ""]
FAILURE: Failure = Raised("ValueError", "no", cause=Raised("KeyError", "'k'"))


class Oops(Exception):
    """Raised by a test inside a transaction."""


def a_run(id: str = "r-1", status: Any = "queued", **fields: Any) -> Run:
    """A run; fields of its state may be given by name."""
    names = set(RunState.__struct_fields__)
    state = RunState(status, **{name: fields.pop(name) for name in list(fields) if name in names})
    defaults: dict[str, Any] = {
        "namespace": "default", "workflow": "orders", "version": "1.0", "shard": "",
        "priority": 0, "reference_id": None, "parent_id": None, "parent_attempt": 0,
        "digest": "d", "options": b"{}", "created_at": 1,
    }  # fmt: skip
    return Run(id=id, state=state, **(defaults | fields))


def an_entry(number: int, **fields: Any) -> Entry:
    defaults: dict[str, Any] = {"kind": "task", "address": "a", "ordinal": 0, "at": 1}
    return Entry(number=number, **(defaults | fields))


def an_attempt(number: int = 1, status: Any = "running", **fields: Any) -> TaskAttempt:
    defaults: dict[str, Any] = {"address": "a", "ordinal": 0, "name": "a", "started_at": 1}
    return TaskAttempt(number=number, status=status, **(defaults | fields))


def a_fact(id: str, run_id: str = "r-1", **fields: Any) -> Fact:
    defaults: dict[str, Any] = {"kind": "event", "name": "paid", "at": 1, "value": b"1"}
    return Fact(id=id, run_id=run_id, **(defaults | fields))


def a_worker(incarnation: str = "w-1", **fields: Any) -> WorkerView:
    defaults: dict[str, Any] = {
        "name": "worker", "namespace": "default", "status": "alive", "lease_ms": 1_000,
        "lease_until": 2_000, "registered_at": 1_000, "seen_at": 1_000,
    }  # fmt: skip
    return WorkerView(incarnation=incarnation, **(defaults | fields))


def ready(run: Run, at: int = 1, *, alone: bool = False, fingerprint: str | None = None) -> Ready:
    return Ready(run, at, alone, fingerprint)


class Verbs:
    """Each verb in a transaction of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        async def call(*values: Any, **named: Any) -> Any:
            return await self._store.transact(lambda tx: getattr(tx, verb)(*values, **named))

        return call


class StoreBehaviour:
    """What must hold for every store."""

    @pytest.fixture
    def verbs(self, store: Store) -> Verbs:
        return Verbs(store)

    # Transactions

    async def test_an_error_undoes_all(self, store: Store, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run()])

        async def work(tx: Transaction) -> None:
            await tx.insert_runs([a_run("r-2")])
            await tx.update_states([a_run("r-1", "completed")])
            await tx.insert_facts([a_fact("f-1")])
            await tx.insert_entries([EntryRow("r-1", 1, an_entry(1))])
            await tx.delete_outbox(["r-1"])
            raise Oops

        with pytest.raises(Oops):
            await store.transact(work)
        assert await verbs.load_runs(["r-1", "r-2"]) == [a_run()]
        assert await verbs.find_facts(["f-1"]) == []
        assert await verbs.load_entries([("r-1", 1)]) == {}

    async def test_a_broken_rule_undoes_all(self, store: Store, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run()])

        async def work(tx: Transaction) -> None:
            await tx.insert_runs([a_run("r-2")])
            await tx.insert_runs([a_run("r-1")])

        with pytest.raises(Exception, match=r"."):
            await store.transact(work)
        assert await verbs.load_runs(["r-2"]) == []

    async def test_a_transaction_answers_and_sees_what_it_wrote(self, store: Store) -> None:
        async def work(tx: Transaction) -> list[Run]:
            await tx.insert_runs([a_run()])
            return await tx.load_runs(["r-1"])

        assert await store.transact(work) == [a_run()]

    async def test_a_read_is_one_snapshot(self, store: Store, verbs: Verbs) -> None:
        async def work(tx: Transaction) -> tuple[list[Run], list[Run]]:
            before = await tx.load_runs(["r-1"])
            await verbs.insert_runs([a_run()])
            return before, await tx.load_runs(["r-1"])

        assert await store.read(work) == ([], [])
        assert await store.read(lambda tx: tx.load_runs(["r-1"])) == [a_run()]

    async def test_a_read_must_not_write(self, store: Store, verbs: Verbs) -> None:
        with pytest.raises(Exception, match=r"."):
            await store.read(lambda tx: tx.insert_runs([a_run()]))
        assert await verbs.load_runs(["r-1"]) == []
        await verbs.insert_runs([a_run()])

    async def test_the_clock_never_goes_back(self, store: Any) -> None:
        first = await store.transact(lambda tx: tx.now())
        await store.shift_clock(10_000)
        later = await store.transact(lambda tx: tx.now())
        assert later >= first + 10_000
        await store.shift_clock(-60_000)
        assert await store.transact(lambda tx: tx.now()) == later
        assert await store.read(lambda tx: tx.now()) == later

    async def test_a_transaction_has_one_instant(self, store: Any) -> None:
        async def work(tx: Transaction) -> tuple[int, int]:
            before = await tx.now()
            await store.shift_clock(5_000)
            return before, await tx.now()

        before, after = await store.transact(work)
        assert before == after

    # Runs

    async def test_a_run_round_trips_with_every_field(self, verbs: Verbs) -> None:
        run = a_run(
            "r-9", "waiting", revision=3, attempt=2, epoch=4, holder="w-1", claim_id="c-1",
            losses=1, alone_losses=2, pause_requested=True, stop_cause="timeout",
            stop_delivered=True, retry_pending=True, due_at=5, deadline_at=6, grace_until=7,
            started_at=8, ended_at=9, command_id="x", fingerprint="s", namespace="n", shard="eu",
            priority=-3, reference_id="ref", parent_id="r-0", parent_attempt=1, options=b'{"a":1}',
            workflow="w", version="v", digest="dd", created_at=11,
        )  # fmt: skip
        await verbs.insert_runs([run])
        assert await verbs.load_runs(["r-9"]) == [run]
        state = msgspec.structs.replace(RunState("completed"), ended_at=99, revision=4)
        changed = msgspec.structs.replace(run, state=state)
        await verbs.update_states([changed])
        assert await verbs.load_runs(["r-9", "none"]) == [changed]

    async def test_many_at_once(self, verbs: Verbs) -> None:
        runs = [a_run(f"r-{number:04}") for number in range(1_500)]
        await verbs.insert_runs(runs)
        found = await verbs.load_runs([run.id for run in runs])
        assert sorted(found, key=lambda run: run.id) == runs

    async def test_references_are_unique_and_compared_by_bytes(self, verbs: Verbs) -> None:
        texts = [text for text in TEXTS if text]
        runs = [a_run(f"r-{n}", reference_id=text) for n, text in enumerate(texts)]
        await verbs.insert_runs(runs)
        keys = [Reference("default", "orders", text) for text in texts]
        found = await verbs.find_references([*keys, Reference("default", "orders", "P")])
        assert found == {key: f"r-{n}" for n, key in enumerate(keys)}
        with pytest.raises(Exception, match=r"."):
            await verbs.insert_runs([a_run("r-x", reference_id="É")])
        await verbs.insert_runs([a_run("r-y", reference_id="É", namespace="other")])
        await verbs.insert_runs([a_run("r-z"), a_run("r-zz")])

    @pytest.mark.parametrize("size", [0, 1, 70_000, 2 * 1024 * 1024])
    async def test_payloads_of_every_size(self, verbs: Verbs, size: int) -> None:
        data = bytes(range(256)) * (size // 256) + b"\x00" * (size % 256)
        await verbs.insert_payloads([("r-1", "input", b"old")])
        await verbs.insert_payloads([("r-1", "input", data), ("r-1", "output", b"o")])
        assert await verbs.load_payloads(["r-1", "r-2"], "input") == {"r-1": data}
        assert await verbs.load_payloads(["r-1"], "output") == {"r-1": b"o"}

    async def test_failures(self, verbs: Verbs) -> None:
        await verbs.insert_payloads([("r-1", "failure", encode_failure(FAILURE))])
        assert await verbs.load_failures(["r-1", "r-2"]) == {"r-1": FAILURE}

    async def test_transitions_in_order(self, verbs: Verbs) -> None:
        rows = [Transition("r-1", n, "queued", "new", n, 1, 0, None) for n in (1, 0, 10, 2)]
        await verbs.insert_transitions(rows)
        assert [t.revision for t in await verbs.load_transitions("r-1")] == [0, 1, 2, 10]
        with pytest.raises(Exception, match=r"."):
            await verbs.insert_transitions(rows[:1])

    async def test_descendants_reach_through_ended_children(self, verbs: Verbs) -> None:
        names = ["a", "b", "c", "d", "e"]
        await verbs.insert_runs(
            [a_run(name, "completed" if name == "b" else "queued") for name in names]
        )
        await verbs.insert_children([("a", 1, "k", "b"), ("b", 1, "k", "c"), ("a", 1, "l", "d")])
        assert sorted(await verbs.descendants(["a"])) == ["c", "d"]
        assert await verbs.descendants(["e"]) == []

    async def test_due_runs_by_their_dues(self, verbs: Verbs) -> None:
        await verbs.insert_runs(
            [
                a_run("late", "scheduled", due_at=30),
                a_run("soon", "waiting", due_at=10),
                a_run("held", "paused", due_at=5),
                a_run("timed", "running", deadline_at=20),
                a_run("over", "completed", due_at=1),
            ]
        )
        assert await verbs.due_runs(20, 10) == ["soon", "timed"]
        assert await verbs.due_runs(99, 1) == ["soon"]
        assert await verbs.due_runs(9, 10) == []
        assert await verbs.next_wake() == 10

    async def test_nothing_to_wake(self, verbs: Verbs) -> None:
        assert await verbs.next_wake() is None

    async def test_lists_newest_first_by_every_filter(self, verbs: Verbs) -> None:
        await verbs.insert_runs(
            [
                a_run("r-1"),
                a_run("r-2", "completed", version="2.0"),
                a_run("r-3", workflow="refunds", reference_id="x"),
                a_run("r-4", parent_id="r-1"),
                a_run("r-5", namespace="other"),
            ]
        )
        for query, ids in (
            (RunQuery(), ["r-4", "r-3", "r-2", "r-1"]),
            (RunQuery(version="2.0"), ["r-2"]),
            (RunQuery(workflow="refunds"), ["r-3"]),
            (RunQuery(status=("completed", "failed")), ["r-2"]),
            (RunQuery(reference_id="x"), ["r-3"]),
            (RunQuery(parent_id="r-1"), ["r-4"]),
            (RunQuery(parent_id="r-1", status=("failed",)), []),
        ):
            assert await verbs.list_runs("default", query, Page(10)) == ids
            oldest_first = await verbs.list_runs("default", query, Page(10, None, "oldest"))
            assert oldest_first == ids[::-1]
        assert await verbs.list_runs("default", RunQuery(), Page(2, "r-4")) == ["r-3", "r-2"]
        oldest = Page(2, "r-1", "oldest")
        assert await verbs.list_runs("default", RunQuery(), oldest) == ["r-2", "r-3"]

    async def test_deletion_takes_all_of_a_run_and_nothing_else(self, verbs: Verbs) -> None:
        for id in ("r-1", "r-2"):
            await verbs.insert_runs([a_run(id, "completed", ended_at=5, reference_id=id)])
            await verbs.insert_payloads([(id, "input", b"")])
            await verbs.insert_entries([EntryRow(id, 1, an_entry(1))])
            await verbs.insert_facts([a_fact(f"f-{id}", id)])
        assert await verbs.expired_runs("default", 5, 10) == []
        assert sorted(await verbs.expired_runs("default", 6, 10)) == ["r-1", "r-2"]
        assert await verbs.expired_runs("other", 6, 10) == []
        await verbs.delete_runs(["r-1"])
        assert [run.id for run in await verbs.load_runs(["r-1", "r-2"])] == ["r-2"]
        assert await verbs.load_payloads(["r-1", "r-2"], "input") == {"r-2": b""}
        assert list(await verbs.load_entries([("r-1", 1), ("r-2", 1)])) == ["r-2"]
        assert [f.id for f in await verbs.find_facts(["f-r-1", "f-r-2"])] == ["f-r-2"]

    async def test_children_of_live_parents_do_not_expire(self, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run("p"), a_run("c", "failed", ended_at=1, parent_id="p")])
        assert await verbs.expired_runs("default", 9, 10) == []
        await verbs.update_states([a_run("p", "failed", ended_at=20)])
        assert await verbs.expired_runs("default", 9, 10) == ["c"]

    # Memo

    async def test_an_entry_is_written_once(self, verbs: Verbs) -> None:
        first = an_entry(
            1, kind="child", name="n", value=b"v", failure=FAILURE, fact_id="f", due_at=3,
            task_attempt=2, started_at=1, epoch=4, arguments=b"a",
        )  # fmt: skip
        await verbs.insert_entries([EntryRow("r-1", 1, first)])
        await verbs.insert_entries(
            [EntryRow("r-1", 1, an_entry(1, value=b"other")), EntryRow("r-1", 1, an_entry(2))]
        )
        await verbs.insert_entries([EntryRow("r-1", 2, an_entry(1))])
        assert (await verbs.load_entries([("r-1", 1)]))["r-1"] == [first, an_entry(2)]
        assert (await verbs.load_entries([("r-1", 2)]))["r-1"] == [an_entry(1)]

    async def test_entries_by_number_and_page(self, verbs: Verbs) -> None:
        await verbs.insert_entries([EntryRow("r-1", 1, an_entry(n)) for n in (10, 2, 1, 9)])
        assert [e.number for e in (await verbs.load_entries([("r-1", 1)]))["r-1"]] == [1, 2, 9, 10]
        page = await verbs.load_entry_page("r-1", 1, 2, 2)
        assert [e.number for e in page] == [2, 9]
        numbers = await verbs.last_numbers([("r-1", 1), ("r-2", 1)])
        assert (numbers["r-1"], numbers.get("r-2", 0)) == (10, 0)

    @pytest.mark.parametrize("before", ["running", "completed", "failed", "lost", "discarded"])
    @pytest.mark.parametrize("after", ["running", "completed", "failed", "lost", "discarded"])
    async def test_an_ended_attempt_stays(self, verbs: Verbs, before: str, after: str) -> None:
        for status in (before, after):
            await verbs.save_attempts([AttemptRow("r-1", 1, an_attempt(1, status))])
        (kept,) = (await verbs.load_attempts([("r-1", 1)]))["r-1"]
        assert kept.status == (after if after in TASK_LEGAL[before] else before)

    async def test_open_attempts_are_closed(self, verbs: Verbs) -> None:
        rows = [
            AttemptRow("r-1", 1, an_attempt(1, "failed", ended_at=4, due_at=5, failure=FAILURE)),
            AttemptRow("r-1", 1, an_attempt(2, at_most_once=True, epoch=3)),
            AttemptRow("r-2", 1, an_attempt(1)),
        ]
        await verbs.save_attempts(rows)
        await verbs.close_attempts(["r-1"], "lost", 9)
        found = await verbs.load_attempts([("r-1", 1), ("r-2", 1)])
        closed = an_attempt(2, "lost", ended_at=9, at_most_once=True, epoch=3)
        assert found == {"r-1": [rows[0].record, closed], "r-2": [rows[2].record]}

    async def test_waits_are_replaced_whole(self, verbs: Verbs) -> None:
        waits = [Wait("event", text or "x") for text in TEXTS] + [Wait("timer", "t", 5)]
        await verbs.replace_waits({"r-1": waits, "r-2": [Wait("event", "z")]})
        found = await verbs.load_waits(["r-1", "r-2"])
        assert sorted(found["r-1"], key=repr) == sorted(waits, key=repr)
        await verbs.replace_waits({"r-1": [Wait("child", "c")], "r-3": ()})
        assert await verbs.load_waits(["r-1", "r-2", "r-3"]) == {
            "r-1": [Wait("child", "c")], "r-2": [Wait("event", "z")],
        }  # fmt: skip

    async def test_untaken_facts_oldest_first(self, verbs: Verbs) -> None:
        facts = [a_fact("f-2", at=2), a_fact("f-1", at=2), a_fact("f-9", at=1), a_fact("f-5", at=3)]
        await verbs.insert_facts([*facts, a_fact("g", "r-2")])
        assert [f.id for f in (await verbs.load_facts(["r-1"]))["r-1"]] == [
            "f-9", "f-1", "f-2", "f-5",
        ]  # fmt: skip
        await verbs.consume_facts([Consumed(1, 1, "f-1", "r-1"), Consumed(1, 1, "g", "r-1")])
        await verbs.consume_facts([Consumed(7, 1, "f-1", "r-1")])
        found = await verbs.load_facts(["r-1", "r-2"])
        assert [f.id for f in found["r-1"]] == ["f-9", "f-2", "f-5"]
        assert [f.id for f in found["r-2"]] == ["g"]
        assert [f.id for f in await verbs.find_facts(["f-1"])] == ["f-1"]

    async def test_a_fact_round_trips(self, verbs: Verbs) -> None:
        fact = a_fact("f-1", kind="child", value=None, failure=FAILURE, key=None, at=7)
        await verbs.insert_facts([fact])
        assert await verbs.find_facts(["f-1", "f-2"]) == [fact]

    async def test_keys_and_names_are_compared_by_bytes(self, verbs: Verbs) -> None:
        facts = [a_fact(f"f-{n}", name="n" + t, key="k" + t) for n, t in enumerate(TEXTS)]
        await verbs.insert_facts(facts)
        keys = [EventKey("r-1", "n" + text, "k" + text) for text in TEXTS]
        wrong = EventKey("r-1", "nE", "ke")
        assert await verbs.find_facts_by_key([*keys, wrong]) == dict(zip(keys, facts, strict=True))
        with pytest.raises(Exception, match=r"."):
            await verbs.insert_facts([a_fact("f-x", name="nÉ", key="kÉ")])

    async def test_facts_are_pushed_to_the_holder(self, verbs: Verbs) -> None:
        await verbs.insert_runs(
            [a_run("r-1", "running", holder="w-1"), a_run("r-2", "waiting", holder="w-1")]
        )
        await verbs.insert_facts([a_fact("f-1"), a_fact("f-2", "r-2")])
        assert [f.id for f in await verbs.pushed_facts("default", "w-1")] == ["f-1"]
        assert await verbs.pushed_facts("other", "w-1") == []
        assert await verbs.pushed_facts("default", "w-2") == []

    async def test_children_decisions_and_divergences(self, verbs: Verbs) -> None:
        await verbs.insert_children([("r-1", 1, "k", "c-1"), ("r-1", 2, "k", "c-2")])
        await verbs.insert_children([("r-1", 1, "k", "c-9")])
        assert await verbs.load_children([("r-1", 1)]) == {"r-1": [ChildRef("c-1", "k")]}
        decisions = [Decision("retry"), Decision("waive", (2, 1))]
        for decision in decisions:
            await verbs.insert_decision(("r-1", 1), decision, 5)
        assert await verbs.load_decisions([("r-1", 1), ("r-1", 2)]) == {"r-1": decisions}
        assert await verbs.load_divergence("r-1") is None
        for at, source in enumerate(("s-2", "s-1")):
            await verbs.save_divergence("r-1", Divergence(("a",), (), (1,), fingerprint=source), at)
        assert (await verbs.load_divergence("r-1")).fingerprint == "s-1"

    async def test_diverged_runs_that_a_source_has_not_met(self, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run("r-1", "diverged"), a_run("r-2", "queued")])
        await verbs.save_divergence("r-1", Divergence((), (), fingerprint="s-1"), 1)
        for source, ids in (("s-1", []), ("s-2", ["r-1"])):
            spec = WorkflowSpec("orders", "1.0", source)
            assert await verbs.diverged_runs("default", spec, 10) == ids
        other = WorkflowSpec("orders", "2.0", "s-2")
        assert await verbs.diverged_runs("default", other, 10) == []

    async def test_what_one_source_alone_was_offered_goes_to_the_newest(self, verbs: Verbs) -> None:
        run = a_run("r-1", "queued")
        await self._offer(verbs, Ready(run, 1, False, "gone"))
        newest = Offer(run.workflow, run.version, "s-3")
        assert await verbs.pick_ready("default", [newest], (), 10) == []
        await verbs.retarget_outbox("default", [WorkflowSpec(run.workflow, run.version, "s-3")])
        assert await verbs.pick_ready("default", [newest], (), 10) == ["r-1"]

    # Work

    async def _offer(self, verbs: Verbs, *rows: Ready) -> None:
        await verbs.insert_runs([row.run for row in rows])
        await verbs.insert_outbox(rows)

    async def test_ready_runs_by_priority_then_age_then_id(self, verbs: Verbs) -> None:
        await self._offer(
            verbs,
            ready(a_run("d"), 5), ready(a_run("b"), 3), ready(a_run("c"), 3),
            ready(a_run("a", priority=-1), 1), ready(a_run("e", priority=9), 9),
        )  # fmt: skip
        pick = ["e", "b", "c", "d", "a"]
        for limit in (1, 3, 10):
            found = await verbs.pick_ready("default", OFFERS, (), limit, alone=False)
            assert found == pick[:limit]

    async def test_queues_are_merged_and_kept_apart(self, verbs: Verbs) -> None:
        await self._offer(
            verbs,
            ready(a_run("a", shard="eu"), 1), ready(a_run("b", shard="us"), 2),
            ready(a_run("c"), 3), ready(a_run("d", version="2.0"), 4),
            ready(a_run("e", workflow="refunds"), 5), ready(a_run("f", namespace="other"), 6),
            ready(a_run("g", shard="EU"), 7),
        )  # fmt: skip
        offers = (*OFFERS, Offer("orders", "2.0"))
        for shards, chosen, ids in (
            ((), OFFERS, ["c"]),
            (("eu", "us"), OFFERS, ["a", "b"]),
            ((), offers, ["c", "d"]),
            (("asia",), offers, []),
        ):
            assert await verbs.pick_ready("default", chosen, shards, 10, alone=False) == ids

    async def test_source_and_solitude(self, verbs: Verbs) -> None:
        await self._offer(
            verbs,
            ready(a_run("a"), 1, fingerprint="source-1"),
            ready(a_run("b"), 2, fingerprint="source-2"),
            ready(a_run("c"), 3, alone=True, fingerprint="source-2"),
        )
        second = (Offer("orders", "1.0", "source-2"),)
        assert await verbs.pick_ready("default", OFFERS, (), 9, alone=False) == ["a"]
        assert await verbs.pick_ready("default", second, (), 9, alone=False) == ["b"]
        assert await verbs.pick_ready("default", OFFERS, (), 9, alone=True) == []
        assert await verbs.pick_ready("default", second, (), 9, alone=True) == ["c"]
        assert not await verbs.any_alone("default", OFFERS, ())
        assert await verbs.any_alone("default", second, ())
        assert not await verbs.any_alone("default", second, ("eu",))

    async def test_the_outbox_holds_a_run_once(self, verbs: Verbs) -> None:
        await self._offer(verbs, ready(a_run("a"), 5), ready(a_run("b"), 6))
        with pytest.raises(Exception, match=r"."):
            await verbs.insert_outbox([ready(a_run("a"), 7)])
        assert await verbs.stale_outbox(5, 10) == ["a"]
        await verbs.delete_outbox(["a", "none"])
        assert await verbs.stale_outbox(9, 10) == ["b"]

    async def test_where_ready_runs_were_announced(self, verbs: Verbs) -> None:
        runs = {id: a_run(id, shard="eu") for id in "abc"}
        await self._offer(verbs, *(ready(run, 5) for run in runs.values()))
        a, b, c = (Announcement(id, "default", "orders", "1.0", "eu", 5) for id in "abc")
        assert await verbs.unpublished("", 5, 10) == ([a, b, c], None)
        assert await verbs.unpublished("", 5, 2) == ([a, b], "b")
        assert await verbs.unpublished("b", 5, 2) == ([c], None)
        assert await verbs.unpublished("", 4, 10) == ([], None)
        assert await verbs.unpublished("", 4, 3) == ([], "c")
        gone = a._replace(run_id="gone")
        other_time = c._replace(ready_at=4)
        first, second = Place("1-0", "x"), Place("2-0", "x")
        await verbs.note_published([(b, second), (a, first), (gone, first), (other_time, first)], 7)
        await verbs.note_published([], 7)
        assert await verbs.unpublished("", 9, 10) == ([c], None)
        assert await verbs.unpublished("", 9, 2) == ([], "b")
        noted = [(a, first._replace(published_at=7)), (b, second._replace(published_at=7))]
        assert await verbs.published("", 7, 10) == noted
        assert await verbs.published("a", 7, 10) == noted[1:]
        assert await verbs.published("", 6, 10) == []
        await verbs.note_published([(a, Place("3-0", "y"))], 8)
        assert (await verbs.published("", 8, 1))[0][1] == Place("3-0", "y", 8)

    async def test_announcements_of_another_time_count_for_nothing(self, verbs: Verbs) -> None:
        await self._offer(verbs, ready(a_run("a"), 5), ready(a_run("b"), 5))
        a, b = (Announcement(id, "default", "orders", "1.0", "", 5) for id in "ab")
        await verbs.note_published([(a, Place("1-0", "x")), (b, Place("2-0", "x"))], 5)
        await verbs.delete_outbox(["a", "b"])
        await verbs.insert_outbox([ready(a_run("a"), 6)])
        assert await verbs.unpublished("", 9, 10) == ([a._replace(ready_at=6)], None)
        assert await verbs.published("", 9, 10) == []
        await verbs.note_published([(a._replace(ready_at=6), Place("3-0", "x"))], 7)
        await verbs.forget_publications()
        assert [place.entry for _, place in await verbs.published("", 9, 10)] == ["3-0"]

    async def test_live_runs_are_ready_or_executed(self, verbs: Verbs) -> None:
        statuses = ("queued", "running", "waiting", "completed")
        await verbs.insert_runs([a_run(status, status) for status in statuses])
        assert sorted(await verbs.live_runs([*statuses, "none"])) == ["queued", "running"]

    async def test_a_duty_has_one_holder_until_its_time_is_over(self, verbs: Verbs) -> None:
        assert await verbs.take_duty("repair", "a", 10, 20)
        assert not await verbs.take_duty("repair", "b", 19, 29)
        assert await verbs.take_duty("sweep", "b", 19, 29)
        assert await verbs.take_duty("repair", "a", 19, 25)
        assert not await verbs.take_duty("repair", "b", 24, 34)
        assert await verbs.take_duty("repair", "b", 25, 35)
        assert not await verbs.take_duty("repair", "a", 25, 35)
        # Whoever goes leaves it to the next.
        assert await verbs.take_duty("repair", "b", 26, 26)
        assert await verbs.take_duty("repair", "a", 26, 36)

    async def test_a_duty_that_many_want_is_given_to_one(self, store: Store) -> None:
        async def take(holder: str) -> bool:
            return await store.transact(lambda tx: tx.take_duty("repair", holder, 10, 20))

        for _ in range(2):
            taken = await asyncio.gather(*(take(str(number)) for number in range(5)))
            assert sum(taken) == 1

    async def test_lines_grow_and_are_forgotten(self, verbs: Verbs) -> None:
        assert await verbs.line_up({"b": 2, "a": 0}) == {"a": 0, "b": 2}
        assert await verbs.line_up({"b": 1}) == {"b": 3}
        await verbs.drop_lines(["b", "none"])
        assert await verbs.line_up({"a": 1, "b": 1}) == {"a": 1, "b": 1}

    async def test_the_first_of_each_line(self, verbs: Verbs) -> None:
        turns = [Turn("r-9", "a", 1), Turn("r-1", "a", 2), Turn("r-5", "b", 7)]
        await verbs.take_turns(turns)
        assert await verbs.first_turns(["a", "b", "c"]) == {"a": "r-9", "b": "r-5"}
        await verbs.end_turns(["r-9", "r-5", "none"])
        assert await verbs.first_turns(["a", "b", "c"]) == {"a": "r-1"}
        with pytest.raises(Exception):  # noqa: B017 - each database has its own
            await verbs.take_turns([Turn("r-2", "a", 2)])

    async def test_who_waits_for_children_in_a_line(self, verbs: Verbs) -> None:
        await verbs.insert_runs(
            [a_run(id, "running" if id == "d" else "waiting") for id in "abcde"]
        )
        await verbs.take_turns([Turn(id, id, 1) for id in "abde"])
        await verbs.replace_waits({id: [Wait("child", "x"), Wait("child", "y")] for id in "bcde"})
        await verbs.replace_waits({"a": [Wait("event", "paid")]})
        assert await verbs.waiting_in_line("", 10) == ["b", "e"]
        assert await verbs.waiting_in_line("b", 10) == ["e"]
        assert await verbs.waiting_in_line("", 1) == ["b"]

    async def test_who_holds_what(self, verbs: Verbs) -> None:
        held = {"holder": "w-1", "claim_id": "c-1", "epoch": 2}
        await verbs.insert_runs(
            [
                a_run("r-1", "running", **held),
                a_run("r-2", "waiting", **held),
                a_run("r-3", "running", holder="w-2", claim_id="c-1"),
            ]
        )
        assert await verbs.claimed_by("default", "w-1", "c-1") == ["r-1"]
        assert await verbs.claimed_by("default", "w-1", "c-2") == []
        assert await verbs.claimed_by("other", "w-1", "c-1") == []
        assert await verbs.held_runs("default", "w-1") == [Held("r-1", 2, "c-1")]
        assert await verbs.held_runs("other", "w-1") == []
        assert sorted(await verbs.held_by_many(["w-1", "w-2"], 9)) == ["r-1", "r-3"]
        assert sorted(await verbs.orphans(9)) == ["r-1", "r-3"]
        await verbs.save_worker(a_worker("w-1"), OFFERS, ())
        assert await verbs.orphans(9) == ["r-3"]

    async def test_the_life_of_a_worker(self, verbs: Verbs) -> None:
        await verbs.save_worker(a_worker(), OFFERS, ("eu",))
        assert await verbs.alive_workers() == {"w-1": 2_000}
        assert await verbs.silent_workers(2_000, 0) == []
        assert await verbs.silent_workers(2_001, 0) == ["w-1"]
        assert await verbs.renew_worker("default", "w-1", ["stuck"], 5_000)
        assert not await verbs.renew_worker("other", "w-1", [], 9_000)
        assert not await verbs.renew_worker("default", "w-2", [], 9_000)
        await verbs.insert_runs([a_run("r-1", "running", holder="w-1")])
        expected = a_worker(lease_until=6_000, seen_at=5_000, running=1, stuck=("stuck",))
        assert await verbs.list_workers("default") == [expected]
        await verbs.expire_workers(9_999)
        assert await verbs.renew_worker("default", "w-1", [], 5_000)
        assert await verbs.lose_workers([], 6_000, 0) == []
        assert await verbs.lose_workers([], 6_001, 0) == ["w-1"]
        assert await verbs.alive_workers() == {}
        assert await verbs.lose_workers([], 6_001, 0) == []
        assert await verbs.open_claim("default", "w-1", "c-1", OFFERS, ()) is None
        assert await verbs.renew_worker("default", "w-1", [], 7_000)
        assert await verbs.lose_workers(["w-1", "w-9"], 7_000, 0) == ["w-1"]
        assert await verbs.renew_worker("default", "w-1", [], 7_000)
        await verbs.stop_worker("other", "w-1")
        assert await verbs.alive_workers() == {"w-1": 8_000}
        await verbs.stop_worker("default", "w-1")
        assert not await verbs.renew_worker("default", "w-1", [], 8_000)
        assert await verbs.open_claim("default", "w-1", "c-1", OFFERS, ()) is None
        await verbs.expire_workers(7_000)
        assert len(await verbs.list_workers("default")) == 1
        await verbs.expire_workers(7_001)
        assert await verbs.list_workers("default") == []

    async def test_what_a_claim_meets(self, verbs: Verbs) -> None:
        alone = a_run("r-2", workflow="alone")
        held = {"holder": "w-1", "claim_id": "c-1"}
        await verbs.insert_runs([a_run("r-1", "running", **held), alone])
        await verbs.insert_outbox([ready(alone, 1, alone=True)])
        await verbs.save_worker(a_worker(stuck=("stuck",)), OFFERS, ())
        second = (Offer("alone", "1.0", "s"),)

        async def opened(claim_id: str, offers: tuple[Offer, ...], *shards: str) -> Opening:
            opening = await verbs.open_claim("default", "w-1", claim_id, offers, shards)
            assert isinstance(opening, Opening)
            return opening

        before = await verbs.now()
        now, granted, alone_waiting = await opened("c-1", OFFERS)
        assert before <= now <= await verbs.now()
        assert (granted, alone_waiting) == (["r-1"], False)
        (worker,) = await verbs.list_workers("default")
        assert (worker.seen_at, worker.lease_until) == (now, now + worker.lease_ms)
        assert (await opened("c-2", second))[1:] == ([], True)
        assert not (await opened("c-2", second, "eu")).alone_waiting
        for namespace, incarnation in (("other", "w-1"), ("default", "w-2")):
            assert await verbs.open_claim(namespace, incarnation, "c-1", OFFERS, ()) is None

    async def test_a_suspected_worker(self, verbs: Verbs) -> None:
        """Only the closing of its latest streaming request makes a worker suspect."""
        await verbs.save_worker(a_worker(lease_until=99_000), OFFERS, ())
        who = ("default", "w-1")
        await verbs.see_worker(*who, 2)
        await verbs.suspect_worker(*who, 1, 3_000)
        await verbs.suspect_worker("other", "w-1", 2, 3_000)
        assert await verbs.silent_workers(3_000, 9_000) == []
        await verbs.suspect_worker(*who, 2, 3_000)
        assert await verbs.silent_workers(3_000, 2_999) == []
        assert await verbs.silent_workers(3_000, 3_000) == ["w-1"]
        await verbs.see_worker(*who, 1)
        assert await verbs.silent_workers(3_000, 3_000) == ["w-1"]
        assert await verbs.open_claim(*who, "c-1", OFFERS, ()) is not None
        assert await verbs.silent_workers(3_100, 3_100) == ["w-1"]
        await verbs.see_worker(*who, 3)
        assert await verbs.silent_workers(3_200, 3_200) == []
        await verbs.suspect_worker(*who, 3, 3_300)
        assert await verbs.renew_worker(*who, [], 3_400)
        assert await verbs.lose_workers([], 3_500, 3_500) == []
        await verbs.suspect_worker(*who, 3, 3_600)
        assert await verbs.lose_workers([], 3_700, 3_600) == ["w-1"]

    # What operators look at

    async def test_namespaces_and_their_retention(self, verbs: Verbs) -> None:
        await verbs.save_namespace("b", 1)
        await verbs.save_namespace("a", 1)
        await verbs.set_retention("a", 5_000)
        await verbs.save_namespace("a", 2)
        assert await verbs.load_namespaces() == [Namespace("a", 5_000), Namespace("b", None)]

    async def test_answers_to_bulk_calls(self, verbs: Verbs) -> None:
        await verbs.save_answer("default", "c-1", b"first", 5)
        with pytest.raises(Exception, match=r"."):
            await verbs.save_answer("default", "c-1", b"second", 6)
        assert await verbs.load_answer("default", "c-1") == b"first"
        assert await verbs.load_answer("other", "c-1") is None
        await verbs.expire_answers(5)
        assert await verbs.load_answer("default", "c-1") == b"first"
        await verbs.expire_answers(6)
        assert await verbs.load_answer("default", "c-1") is None

    async def test_the_backlog_of_each_queue(self, verbs: Verbs) -> None:
        rows = [ready(a_run("r-1"), 5), ready(a_run("r-2"), 7), ready(a_run("r-3", shard="eu"), 9),
                ready(a_run("r-4", namespace="other"), 1)]  # fmt: skip
        await verbs.insert_outbox(rows)
        assert await verbs.count_ready("default", 8) == [
            Backlog("orders", "1.0", "", 2, 3), Backlog("orders", "1.0", "eu", 1, 0)
        ]  # fmt: skip

    async def test_recent_transitions(self, verbs: Verbs) -> None:
        runs = [a_run("r-1"), a_run("r-2"), a_run("r-3", namespace="other")]
        await verbs.insert_runs(runs)
        rows = [Transition(id, 0, "queued", "new", at, 1, 0) for id, at in
                (("r-1", 7), ("r-2", 5), ("r-3", 6))]  # fmt: skip
        await verbs.insert_transitions(rows)
        assert await verbs.recent_transitions("default", 5, 9) == [
            ("orders", rows[1]), ("orders", rows[0])
        ]  # fmt: skip
        assert await verbs.recent_transitions("default", 6, 9) == [("orders", rows[0])]
        assert await verbs.recent_transitions("default", 5, 1) == [("orders", rows[1])]

    async def test_guarded_runs_are_runs(self, store: Store, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run()])

        async def work(tx: Transaction) -> list[Run]:
            found = await tx.guard_runs(["r-1", "r-2"])
            assert await tx.now() > 0
            await tx.update_states([a_run(status="running")])
            await tx.insert_facts([a_fact("f-1")])
            return found

        assert await store.transact(work) == [a_run()]
        assert await verbs.load_runs(["r-1"]) == [a_run(status="running")]
        assert await verbs.find_facts(["f-1"]) == [a_fact("f-1")]

    async def test_peeking_sees_runs(self, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run()])
        assert await verbs.peek_runs(["r-1", "r-2"]) == [a_run()]

    async def test_signals_may_be_sent(self, store: Store) -> None:
        await store.transact(lambda tx: tx.signal(ALL_NEWS))
        await store.transact(lambda tx: tx.signal(NO_NEWS))

    async def test_a_work_that_is_done_at_once_is_not_repeated(self, store: Store) -> None:
        async def repeated(tx: Transaction) -> bool:
            return tx.repeated

        assert not await store.transact(repeated)

    async def test_browsing_sees_what_was_committed(self, store: Store, verbs: Verbs) -> None:
        await verbs.insert_runs([a_run()])
        assert await store.browse(lambda tx: tx.load_runs(["r-1"])) == [a_run()]

    async def test_workflow_versions(self, verbs: Verbs) -> None:
        first = WorkflowSpec("orders", "1.0", "s-1", input_schema={"type": "object"})
        await verbs.save_namespace("default", 1)
        await verbs.save_namespace("default", 2)
        await verbs.save_workflow_versions("default", [first], 5)
        second = msgspec.structs.replace(first, fingerprint="s-2")
        await verbs.save_workflow_versions("default", [second], 9)
        (found,) = await verbs.load_workflow_versions("default")
        assert (found.spec, found.first_seen_at, found.last_seen_at) == (second, 5, 9)
        assert await verbs.load_workflow_versions("other") == []

    async def test_dead_letters_newest_first(self, verbs: Verbs) -> None:
        letters = [
            DeadLetter(id=f"d-{n}", namespace="default", run_id=None, reason="poison", at=n)
            for n in range(3)
        ]
        await verbs.insert_dead_letters(letters)
        assert await verbs.list_dead_letters("default", None, 2) == [letters[2], letters[1]]
        assert await verbs.list_dead_letters("default", "d-1", 2) == [letters[0]]
        assert await verbs.list_dead_letters("other", None, 2) == []
        assert await verbs.load_dead_letters(["d-1", "d-9"]) == [
            letter for letter in letters if letter.id == "d-1"
        ]
        assert await verbs.load_dead_letters([]) == []
        await verbs.delete_dead_letters(["d-1", "d-9"])
        assert await verbs.load_dead_letters(["d-1"]) == []
        assert await verbs.list_dead_letters("default", None, 9) == [letters[2], letters[0]]

    async def test_letters_go_with_their_runs_or_with_time(self, verbs: Verbs) -> None:
        abouts = (None, None, "r-1", "r-2")
        letters = [
            DeadLetter(id=f"d-{n}", namespace="default", run_id=run_id, reason="poison", at=n)
            for n, run_id in enumerate(abouts)
        ]
        await verbs.insert_dead_letters(letters)
        await verbs.expire_letters(1)
        assert await verbs.list_dead_letters("default", None, 9) == letters[:0:-1]
        await verbs.expire_letters(9)
        await verbs.delete_letters_of(["r-1", "r-9"])
        assert await verbs.list_dead_letters("default", None, 9) == [letters[3]]
        await verbs.delete_runs(["r-2"])
        assert await verbs.list_dead_letters("default", None, 9) == []

    async def test_audit_is_append_only(self, verbs: Verbs) -> None:
        record = AuditRecord("a-1", 1, "default", "alice", "PauseRun", "r-1")
        await verbs.insert_audit([record])
        with pytest.raises(Exception, match=r"."):
            await verbs.insert_audit([record])

    def test_every_verb_is_looked_at(self) -> None:
        source = Path(__file__).read_text("utf-8")
        verbs = [name for name in vars(Transaction) if not name.startswith("_")]
        assert [name for name in verbs if f".{name}(" not in source] == []
