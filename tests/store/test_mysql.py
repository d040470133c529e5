"""MySQL: the behaviour of every store; and its own literals, news, presence, claims and history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asyncmy.errors import MySQLError
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from aiki.model.audit import AuditRecord
from aiki.model.run import Transition
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import TEMPLATES, Purpose
from aiki.store.mysql.pool import Pool
from aiki.store.mysql.statements import Counts, Statements
from aiki.store.mysql.store import MySqlStore
from aiki.store.mysql.template import Template, literal
from aiki.store.protocol import Transaction
from aiki.store.records import AttemptRow, EntryRow, News, Reference
from tests.services import mysql
from tests.store.behaviour import (
    OFFERS,
    StoreBehaviour,
    Verbs,
    a_run,
    an_attempt,
    an_entry,
    ready,
)

mysql_url = mysql.mysql_url
LIMIT_SECONDS = 20
Pair = tuple[MySqlStore, MySqlStore]


@pytest.fixture
async def store(mysql_url: str) -> AsyncIterator[MySqlStore]:
    store = MySqlStore(mysql_url)
    await store.open()
    yield store
    await store.close()


class TestMySql(StoreBehaviour):
    """Everything that a store must do."""


@pytest.fixture
async def pair(mysql_url: str) -> AsyncIterator[Pair]:
    """Two servers on one database."""
    stores = (MySqlStore(mysql_url), MySqlStore(mysql_url))
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


# Values in statements


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.text(), st.binary()), min_size=1, max_size=20))
def test_every_character_and_byte_arrives(values: list[str | bytes]) -> None:
    # Without a name of its own a column is called by its expression, raw bytes and all.
    columns = ", ".join(f"HEX(%s) AS c{place}" for place in range(len(values)))
    url = mysql.server().database("mysql")
    (row,) = asyncio.run(mysql.fetch(url, f"SELECT {columns}", values))
    sent = [value.encode() if isinstance(value, str) else value for value in values]
    assert list(row) == [value.hex().upper() for value in sent]


@pytest.mark.parametrize(
    "text",
    ["'", "\\", "\\'", "%s", "?1", "?rows", "\0", "\n\r\x1a", '"', "`", "-- ", "\U0001f600"],
    ids=ascii,
)
async def test_texts_and_bytes_keep_every_character(store: MySqlStore, text: str) -> None:
    verbs = Verbs(store)
    run = a_run(reference_id=text, options=text.encode() + bytes(range(256)), shard=text)
    await verbs.insert_runs([run])
    await verbs.update_states([run])
    assert await verbs.load_runs(["r-1"]) == [run]
    key = Reference("default", "orders", text)
    assert await verbs.find_references([key]) == {key: "r-1"}


def test_a_template_takes_values_in_any_order_and_as_often_as_named() -> None:
    template = Template("SELECT ?2, ?1, ?2 WHERE x = '?1?'")
    assert template.fill("?2", 7) == b"SELECT 7, '?2', 7 WHERE x = ''?2'?'"
    rows = Template("INSERT INTO t VALUES ?rows;")
    assert list(rows.fill_rows([(1, None), (True, b"\\")])) == [
        b"INSERT INTO t VALUES (1,NULL),(1,_binary'\\\\');"
    ]
    assert list(rows.fill_rows([])) == []


@pytest.mark.parametrize(
    "value", [1.5, object(), ["a"], "\ud800"], ids=["float", "object", "list", "half"]
)
def test_what_is_no_value_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, UnicodeEncodeError)):
        literal(value)


@pytest.mark.parametrize(
    "run",
    [
        a_run(command_id="x" * 801),
        a_run(command_id="x" * 2_000),
        a_run(epoch=2**40),
        a_run(due_at=2**70),
        a_run(holder="\ud800"),
    ],
    ids=["long", "longer than a cut", "number", "instant", "half a pair"],
)
async def test_what_is_too_large_is_refused_and_never_cut(store: MySqlStore, run: Any) -> None:
    verbs = Verbs(store)
    with pytest.raises(InvalidRequest, match="cannot be stored"):
        await verbs.insert_runs([run])
    await verbs.insert_runs([a_run()])
    with pytest.raises(InvalidRequest, match="cannot be stored"):
        await verbs.update_states([run])
    assert await verbs.load_runs(["r-1"]) == [a_run()]


async def test_what_is_too_long_to_be_there_is_not_found(store: MySqlStore) -> None:
    verbs = Verbs(store)
    longest = "é" * 100
    await verbs.insert_runs([a_run(longest)])
    assert await verbs.load_runs([longest, longest + "é", longest * 20]) == [a_run(longest)]


async def test_large_values_travel_in_several_packets(store: MySqlStore) -> None:
    value = b"'\\" * (1024 * 1024)
    rows = [EntryRow("r-1", 1, an_entry(n, value=value, arguments=value)) for n in range(1, 5)]
    before = store.round_trips
    await Verbs(store).insert_entries(rows)
    assert store.round_trips - before >= 4
    found = (await Verbs(store).load_entries([("r-1", 1)]))["r-1"]
    assert [entry.value for entry in found] == [value] * 4


# Claims


async def test_servers_that_pick_at_once_both_get_runs_and_none_waits(pair: Pair) -> None:
    one, other = pair
    runs = [a_run(f"r-{number:03}") for number in range(200)]
    await one.transact(lambda tx: tx.insert_runs(runs))
    await one.transact(lambda tx: tx.insert_outbox([ready(run) for run in runs]))

    async def pick_twice(tx: Transaction) -> tuple[list[str], list[str], list[str]]:
        mine = await tx.pick_ready("default", OFFERS, (), 150)
        # The other looks while these are locked, further than its first look reaches.
        theirs = await asyncio.wait_for(
            other.transact(lambda tx: tx.pick_ready("default", OFFERS, (), 10)), LIMIT_SECONDS
        )
        rest = await asyncio.wait_for(
            other.transact(lambda tx: tx.pick_ready("default", OFFERS, (), 100)), LIMIT_SECONDS
        )
        return mine, theirs, rest

    mine, theirs, rest = await one.transact(pick_twice)
    ids = [run.id for run in runs]
    assert mine == ids[:150]
    assert theirs == ids[150:160]
    assert rest == ids[150:]


async def test_what_is_not_picked_is_not_locked(pair: Pair) -> None:
    one, other = pair
    runs = [a_run(f"r-{number}", priority=number) for number in range(9)]
    await one.transact(lambda tx: tx.insert_runs(runs))
    await one.transact(lambda tx: tx.insert_outbox([ready(run) for run in runs]))

    async def pick(tx: Transaction) -> list[str]:
        mine = await tx.pick_ready("default", OFFERS, (), 2)
        async with asyncio.timeout(LIMIT_SECONDS):
            await other.transact(lambda tx: tx.load_runs([f"r-{number}" for number in range(7)]))
        return mine

    assert await one.transact(pick) == ["r-8", "r-7"]


async def test_what_is_no_longer_queued_is_not_picked(store: MySqlStore) -> None:
    verbs = Verbs(store)
    await verbs.insert_runs([a_run("r-1", "paused"), a_run("r-2")])
    await verbs.insert_outbox([ready(a_run("r-1")), ready(a_run("r-2"))])
    assert await verbs.pick_ready("default", OFFERS, (), 10) == ["r-2"]


async def test_picked_runs_are_loaded_already(store: MySqlStore) -> None:
    verbs = Verbs(store)
    await verbs.insert_runs([a_run("r-1")])
    await verbs.insert_outbox([ready(a_run("r-1"))])

    async def pick(tx: Transaction) -> int:
        ids = await tx.pick_ready("default", OFFERS, (), 10)
        before = store.round_trips
        assert await tx.load_runs(ids) == [a_run("r-1")]
        saved = store.round_trips - before
        await tx.update_states([a_run("r-1", "running", epoch=1)])
        assert await tx.load_runs(ids) == [a_run("r-1", "running", epoch=1)]
        return saved

    assert await store.transact(pick) == 0


# Writes travel together, and yet in order


async def test_writes_keep_their_order(store: MySqlStore) -> None:
    row = ready(a_run("r-1"))

    async def work(tx: Transaction) -> None:
        await tx.insert_outbox([row])
        await tx.delete_outbox(["r-1"])
        await tx.insert_outbox([row])
        await tx.close_attempts(["r-1"], "lost", 5)
        await tx.save_attempts([AttemptRow("r-1", 1, an_attempt(1))])
        await tx.close_attempts(["r-2"], "lost", 5)
        await tx.save_attempts([AttemptRow("r-2", 1, an_attempt(1))])
        await tx.close_attempts(["r-2"], "lost", 6)

    await store.transact(work)
    verbs = Verbs(store)
    assert await verbs.stale_outbox(9, 9) == ["r-1"]
    found = await verbs.load_attempts([("r-1", 1), ("r-2", 1)])
    assert found == {
        "r-1": [an_attempt(1)],
        "r-2": [an_attempt(1, "lost", ended_at=6)],
    }


async def test_an_attempt_told_twice_at_once_is_as_if_told_in_turn(store: MySqlStore) -> None:
    verbs = Verbs(store)
    told = [an_attempt(1), an_attempt(1, "failed", ended_at=2), an_attempt(1, "completed")]
    await verbs.save_attempts([AttemptRow("r-1", 1, record) for record in told])
    assert (await verbs.load_attempts([("r-1", 1)]))["r-1"] == [told[1]]


@pytest.mark.parametrize("size", [1, 100])
async def test_a_batch_of_reports_takes_two_round_trips(store: MySqlStore, size: int) -> None:
    ids = [f"r-{number}" for number in range(size)]
    await store.transact(lambda tx: tx.insert_runs([a_run(id, "running") for id in ids]))

    async def report(tx: Transaction) -> None:
        await tx.guard_runs(ids)
        await tx.now()
        await tx.insert_entries([EntryRow(id, 1, an_entry(1)) for id in ids])
        await tx.save_attempts([AttemptRow(id, 1, an_attempt()) for id in ids])

    before = (store.round_trips, store.statements_executed)
    await store.transact(report)
    # The transaction's brackets, locks, the instant, entries, attempts.
    assert (store.round_trips - before[0], store.statements_executed - before[1]) == (2, 6)


async def test_a_transaction_without_statements_sends_none(store: MySqlStore) -> None:
    await Verbs(store).stop_worker("default", "w-1")
    before = store.round_trips
    await store.transact(lambda tx: tx.signal(News(0)))
    await store.transact(lambda tx: tx.insert_runs([]))
    assert store.round_trips == before


# History


@pytest.mark.parametrize("table", ["transition", "audit", "entry"])
async def test_history_cannot_be_rewritten(store: MySqlStore, mysql_url: str, table: str) -> None:
    verbs = Verbs(store)
    await verbs.insert_entries([EntryRow("r-1", 1, an_entry(1))])
    await verbs.insert_transitions([Transition("r-1", 0, "queued", "new", 1, 1, 0)])
    await verbs.insert_audit([AuditRecord("a-1", 1, "default", "alice", "PauseRun", "r-1")])
    with pytest.raises(MySQLError, match="never changed"):
        await mysql.execute(mysql_url, f"UPDATE {table} SET at = 99")


async def test_no_column_of_an_entry_can_be_rewritten(store: MySqlStore, mysql_url: str) -> None:
    await Verbs(store).insert_entries([EntryRow("r-1", 1, an_entry(1))])
    columns = await mysql.fetch(
        mysql_url,
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name = 'entry'",
    )
    assert len(columns) == 16
    for (column,) in columns:
        with pytest.raises(MySQLError, match="never changed"):
            await mysql.execute(mysql_url, f"UPDATE entry SET {column} = 77")


# URLs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://host/db", "no URL of MySQL"),
        ("mysql://host", "names no database"),
        ("mysql://host/db?pool=3", "option 'pool'"),
        ("mysql://host/db?ssl=maybe", "ssl='maybe'"),
        ("mysql://[host/db", "cannot be read"),
        ("mysql://host:port/db", "cannot be read"),
    ],
)
def test_a_url_that_names_nothing_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MySqlStore(url)


def test_the_parts_of_a_url() -> None:
    address = Address.parse("mariadb://u%40x:p%2Fw@db.example:3307/aiki?ssl=unverified")
    assert address[:5] == ("db.example", 3307, "u@x", "p/w", "aiki")
    assert address.label == "MySQL db.example:3307/aiki"
    assert Address.parse("mysql:///aiki?unix_socket=/run/my.sock").unix_socket == "/run/my.sock"


async def test_a_socket_of_the_same_machine(store: MySqlStore, mysql_url: str) -> None:
    socket = mysql.server().socket
    if socket is None:
        pytest.skip("the socket of the server that was given is unknown")
    await Verbs(store).insert_runs([a_run()])
    near = MySqlStore(f"mysql://aiki@/{Address.parse(mysql_url).database}?unix_socket={socket}")
    await near.open()
    assert await near.read(lambda tx: tx.load_runs(["r-1"])) == [a_run()]
    await near.close()


async def test_an_error_does_not_show_the_password(mysql_url: str) -> None:
    url = mysql_url.replace("aiki@", "aiki:hunter2@")
    with pytest.raises(ConfigurationError, match="Access denied") as caught:
        await MySqlStore(url).open()
    assert "hunter2" not in str(caught.value)


async def test_a_database_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="Unknown database 'nowhere'"):
        await MySqlStore(mysql.server().database("nowhere")).open()


async def test_a_store_that_is_not_open_says_so(mysql_url: str) -> None:
    with pytest.raises(ConfigurationError, match="not open"):
        await Verbs(MySqlStore(mysql_url)).load_runs([])


def test_statements_keep_to_what_both_servers_know() -> None:
    for name, template in TEMPLATES.items():
        text = template.fill(*["x"] * 11).upper() if b"ROWS" not in _texts(template) else b""
        for word in (b" RETURNING", b"LATERAL", b"FOR UPDATE OF", b" AS NEW", b"INTERSECT"):
            assert word not in text, name


def _texts(template: Template) -> bytes:
    return b"".join(template._between).upper()


async def test_a_session_that_is_opened_while_the_pool_closes_is_not_kept(mysql_url: str) -> None:
    pool = Pool(Address.parse(mysql_url), Purpose.READ, 2, Counts())
    used = await pool.acquire()
    late = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await late
    pool.release(used)
    assert used.connection.is_closed()


async def test_a_cancelled_reader_leaves_its_place_to_others(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the cancellation comes while its transaction is rolled back."""
    store = MySqlStore(mysql_url, pool_size=1)
    await store.open()
    rolling_back = asyncio.Event()
    roll_back = Statements.roll_back

    async def held(self: Statements) -> None:
        if not rolling_back.is_set():
            rolling_back.set()
            await asyncio.Event().wait()
        await roll_back(self)

    async def fail(tx: Transaction) -> None:
        raise LookupError

    monkeypatch.setattr(Statements, "roll_back", held)
    reader = asyncio.create_task(store.read(fail))
    await rolling_back.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await store.read(lambda tx: tx.now()) > 0
    await store.close()
