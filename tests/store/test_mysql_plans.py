"""MySQL's plans: what is asked often walks an index, however the tables have grown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec
import pytest

from aiki.model.run import Transition
from aiki.model.task import Wait
from aiki.operations.runs import RunQuery
from aiki.store.mysql import rows
from aiki.store.mysql.connection import TEMPLATES, Connection, connect
from aiki.store.mysql.store import MySqlStore
from aiki.store.mysql.work_verbs import MySqlTransaction
from aiki.store.named_sql import load_sql
from aiki.store.records import AttemptRow, Consumed, EntryRow, EventKey, Page, Reference
from tests.services import mysql
from tests.store.behaviour import OFFERS, a_fact, a_run, a_worker, an_attempt, an_entry, ready

mysql_url = mysql.mysql_url
TEXTS = load_sql("aiki.store.mysql", "queries.sql") | load_sql("aiki.store.mysql", "lists.sql")

ENDED, QUEUED = 10_000, 3_000
GROWING = {
    "r": "run", "p": "run", "run": "run", "d": "decision", "e": "entry", "f": "fact", "c": "child",
    "t": "transition", "o": "outbox", "w": "wait", "outbox": "outbox", "entry": "entry",
    "transition": "transition", "decision": "decision", "divergence": "divergence",
    "task_attempt": "task_attempt", "run_payload": "run_payload",
    "turn": "ordering_turn", "l": "ordering_line",
}  # fmt: skip
"""Tables that grow, by what they are called in statements."""
IDS = rows.as_json(["e-1", "e-2"])
PAIRS = rows.as_json([("e-1", 1), ("e-2", 1)])
VALUES: dict[str, tuple[str | bytes | int | None, ...]] = {
    "find_facts_by_key": (rows.as_json([("e-1", "paid", "k")]),),
    "find_references": (rows.as_json([("default", "orders", "x")]),),
    "update_states": (rows.as_json([rows.state_object(a_run("e-1"))]),),
    "consume_facts": (rows.as_json([(1, 1, "f-e-1", "e-1")]),),
    "any_alone": (rows.queues_json(rows.queues("default", OFFERS, ())),),
    "look_ready": (*rows.queues("default", OFFERS, ())[0][:1], 0, "s", 10),
    "peek_ready": (*rows.queues("default", OFFERS, ())[0][:1], 0, "s", 10),
    "retarget_outbox": ("default", rows.as_json([("orders", "1.0", "s")])),
    "held_by_many": (IDS, 10),
    "lock_ready": (IDS, 10),
    "close_attempts": (IDS, "lost", 1),
    "load_payloads": (IDS, "input"),
    "due_runs": (1, 10),
    "orphans": (10,),
    "stale_outbox": (1, 10),
    "unpublished": ("", 1, 10),
    "outbox_page": ("", 10),
    "published": ("", 1, 10),
    "waiting_in_line": ("", 10),
    "note_published": (rows.as_json([("q-1", 1, "1-0", "x")]), 1),
    "count_ready": ("default", 1),
    "load_entry_page": ("e-1", 1, 1, 10),
    "expired_runs": ("default", 1, 10),
    "recent_transitions": ("default", ENDED - 10, 10),
    "diverged_runs": ("default", "orders", "1.0", "s", 10),
    "insert_decision": ("e-1", 1, b"", 1),
    "load_divergence": ("e-1",),
    "load_transitions": ("e-1",),
    "claimed_by": ("default", "w-1", "c"),
    "held_runs": ("default", "w-1"),
    "pushed_facts": ("default", "w-1"),
}
"""What is asked for; for others a list of runs or of their attempts."""


_FILL = f"""
CREATE TABLE ten (n INT PRIMARY KEY);
INSERT INTO ten VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE counted AS
    SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n AS n
    FROM ten AS a, ten AS b, ten AS c, ten AS d, ten AS e HAVING n < {ENDED};
INSERT INTO run (id, namespace, workflow, version, shard, priority, parent_attempt, digest, options,
                 created_at, status, revision, attempt, epoch, holder, claim_id, losses,
                 alone_losses, pause_requested, stop_delivered, retry_pending, ended_at)
    SELECT CONCAT('e-', n), 'default', 'orders', '1.0', '', 0, 0, 'd', '', n, 'completed', 2, 1, 1,
           CONCAT('w-', n), 'c', 0, 0, 0, 0, 0, n FROM counted;
INSERT INTO run (id, namespace, workflow, version, shard, priority, parent_attempt, digest, options,
                 created_at, status, revision, attempt, epoch, holder, claim_id, losses,
                 alone_losses, pause_requested, stop_delivered, retry_pending)
    SELECT CONCAT('q-', n), 'default', 'orders', '1.0', '', 0, 0, 'd', '', n, 'queued', 2, 1, 1,
           CONCAT('w-', n), 'c', 0, 0, 0, 0, 0 FROM counted WHERE n < {QUEUED};
UPDATE run SET reference_id = 'x', parent_id = 'e-1' WHERE id = 'e-1';
INSERT INTO outbox (run_id, namespace, workflow, version, shard, priority, ready_at, alone, prefers,
                    queue)
    SELECT id, namespace, workflow, version, shard, 0, created_at, 0, 'other source', ?1
    FROM run WHERE status = 'queued';
INSERT INTO entry (run_id, attempt, number, kind, address, ordinal, at, name, task_attempt, epoch)
    SELECT id, 1, 1, 'task', 'a', 0, 1, 'a', 1, 1 FROM run;
INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch)
    SELECT id, 0, 'queued', 'new', created_at, 1, 0 FROM run;
INSERT INTO fact (id, run_id, kind, name, at, `key`)
    SELECT CONCAT('f-', id), id, 'event', 'paid', 1, 'k' FROM run;
INSERT INTO task_attempt
    SELECT id, 1, 'a', 0, 1, 'a', 'running', 1, NULL, NULL, NULL, 1, 0 FROM run;
INSERT INTO wait SELECT id, 'event', 'paid', NULL FROM run;
INSERT INTO run_payload SELECT id, 'input', '1' FROM run;
INSERT INTO child SELECT id, 1, 'k', CONCAT('c-', id) FROM run;
INSERT INTO decision SELECT id, 1, 1, '', 1 FROM run;
INSERT INTO divergence SELECT id, 's', 1, '' FROM run;
INSERT INTO publication SELECT run_id, ready_at, '1-0', 'x', 1 FROM outbox;
INSERT INTO ordering_turn SELECT id, 'line', created_at FROM run WHERE status = 'queued';
INSERT INTO ordering_line SELECT id, 1 FROM run;
"""


@pytest.fixture
async def filled(mysql_url: str) -> AsyncIterator[MySqlStore]:
    """A store with many ended runs, and a backlog."""
    store = MySqlStore(mysql_url)
    await store.open()
    connection = await connect(mysql_url)
    ((queue, _),) = rows.queues("default", OFFERS, ())
    await connection.send(_FILL.encode().replace(b"?1", b"_binary 0x%b" % queue.hex().encode()), 60)
    await connection.close()
    yield store
    await store.close()


@pytest.fixture
async def connection(filled: MySqlStore, mysql_url: str) -> AsyncIterator[Connection]:
    """A session to look at plans."""
    connection = await connect(mysql_url)
    yield connection
    await connection.close()


def _values(name: str, text: str) -> tuple[str | bytes | int | None, ...]:
    if name.startswith("list_"):
        parent = "e-1" if "parent" in name else None
        reference = "x" if "reference" in name else None
        workflow = "orders" if reference or "workflow" in name else None
        return ("default", None, workflow, None, None, reference, parent, None, None, None, 10)
    values = VALUES.get(name, (PAIRS if "'$[1]'" in text else IDS,))
    places = max((int(place) for place in re.findall(r"\?(\d+)", text)), default=0)
    return values[:places]


def _is_planned(text: str) -> bool:
    """Whether the statement looks for rows in a table that grows."""
    return re.search(rf"(FROM|JOIN|UPDATE) ({'|'.join(GROWING.values())})\b", text) is not None


async def _plan(connection: Connection, name: str, text: str) -> list[tuple[str, str, str]]:
    """Tables, the kinds of their accesses, and their indexes."""
    statement = TEMPLATES[name].fill(*_values(name, text))
    (found,) = await connection.send(b"EXPLAIN " + statement)
    return [(row[2] or "", row[3] or "", row[5] or "") for row in found]


async def test_no_statement_reads_a_whole_table(connection: Connection) -> None:
    asked = {name: text for name, text in TEXTS.items() if _is_planned(text)}
    # It counts all of a namespace's backlog.
    del asked["count_ready"]
    # Those that are of no use any more are told by a look at each.
    del asked["forget_publications"]
    plans = {name: await _plan(connection, name, text) for name, text in asked.items()}
    assert len(plans) > 45
    whole = {
        f"{name}: {table} {kind} {index}"
        for name, plan in plans.items()
        for table, kind, index in plan
        if table in GROWING and kind in ("ALL", "index")
    }
    assert whole == set()


async def test_claims_lists_and_timers_lead_with_their_index(connection: Connection) -> None:
    for name, index in {
        "look_ready": "outbox_ready", "peek_ready": "outbox_ready", "any_alone": "outbox_ready",
        "claimed_by": "run_held", "held_runs": "run_held", "due_runs": "run_wake",
        "list_all_newest": "run_newest", "list_open_oldest": "run_phase",
        "list_failed_newest": "run_phase", "list_workflow_newest": "run_workflow",
        "list_parent_newest": "run_parent", "list_reference_newest": "run_reference",
        "lock_runs": "PRIMARY", "lock_ready": "PRIMARY", "update_states": "PRIMARY",
        "delete_outbox": "PRIMARY", "load_entries": "PRIMARY", "load_facts": "fact_open",
    }.items():  # fmt: skip
        statement = TEMPLATES[name].fill(*_values(name, TEXTS[name]))
        (plan,) = await connection.send(b"EXPLAIN " + statement)
        assert index in {row[5] for row in plan}, (name, plan)
        if name.startswith("list_") or name == "due_runs":
            assert not any("filesort" in (row[-1] or "") for row in plan), (name, plan)


async def _claim_record_and_park(tx: MySqlTransaction) -> int:
    """What a server does all day; answers how many rows the database read for it."""
    before = await _rows_read(tx)
    await tx.open_claim("default", "w-1", "c-1", OFFERS, ())
    await tx.held_runs("default", "w-1")
    runs = await tx.load_runs(await tx.pick_ready("default", OFFERS, (), 10))
    ids = [run.id for run in runs] or ["none"]
    for run in runs:
        state = msgspec.structs.replace(run.state, status="running", revision=3)
        await tx.update_states([msgspec.structs.replace(run, state=state)])
        await tx.insert_transitions([Transition(run.id, 3, "running", "claimed", 1, 1, 1)])
    await tx.delete_outbox(ids)
    await tx.insert_entries([EntryRow(id, 1, an_entry(2)) for id in ids])
    await tx.save_attempts([AttemptRow(id, 1, an_attempt(1, "completed")) for id in ids])
    await tx.close_attempts(ids, "lost", 1)
    await tx.consume_facts([Consumed(1, 1, f"f-{id}", id) for id in ids])
    await tx.replace_waits({id: [Wait("timer", "t", 5)] for id in ids})
    await tx.load_facts(ids)
    await tx.find_facts([f"f-{id}" for id in ids])
    await tx.find_facts_by_key([EventKey(id, "paid", "k") for id in ids])
    await tx.find_references([Reference("default", "orders", "ref")])
    await tx.load_entries([(id, 1) for id in ids])
    await tx.load_attempts([(id, 1) for id in ids])
    await tx.last_numbers([(id, 1) for id in ids])
    await tx.load_waits(ids)
    await tx.descendants(ids)
    await tx.due_runs(0, 10)
    await tx.next_wake()
    await tx.list_runs("default", RunQuery(), Page(10))
    await tx.list_runs("default", RunQuery(status=("failed",)), Page(10))
    await tx.insert_facts([a_fact(f"g-{ids[0]}", ids[0])])
    return await _rows_read(tx) - before


async def _rows_read(tx: MySqlTransaction) -> int:
    """By this session, out of tables and indexes."""
    await tx._statements.flush()
    (found,) = await tx._statements.connection.send(b"SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(row[1]) for row in found)


async def test_a_day_of_work_reads_few_rows_however_many_there_are(filled: MySqlStore) -> None:
    await filled.transact(lambda tx: tx.save_worker(a_worker(), OFFERS, ()))
    await filled.transact(lambda tx: tx.insert_runs([a_run("r-1", priority=9)]))
    await filled.transact(lambda tx: tx.insert_outbox([ready(a_run("r-1", priority=9))]))
    # Claims look at a thousand rows of the queue's front.
    assert 1_000 < await filled.transact(_claim_record_and_park) < 4_000
