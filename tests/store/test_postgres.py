"""PostgreSQL: the behaviour of every store; and its own news, presence, claims and history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from aiki.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from aiki.model.audit import AuditRecord
from aiki.model.run import Run, Transition
from aiki.store.postgres import session
from aiki.store.postgres.address import Address, channel_of
from aiki.store.postgres.connection import Dialect, connect
from aiki.store.postgres.pool import Pool
from aiki.store.postgres.statements import Counts, Statements
from aiki.store.postgres.store import PostgresStore
from aiki.store.protocol import Transaction
from aiki.store.records import ALL_NEWS, AttemptRow, EntryRow, News
from tests.services import postgres
from tests.store.behaviour import (
    OFFERS,
    StoreBehaviour,
    Verbs,
    a_run,
    an_attempt,
    an_entry,
    ready,
)

each_postgres_url = postgres.each_postgres_url
postgres_url = postgres.postgres_url
LIMIT_SECONDS = 20


@pytest.fixture
async def store(each_postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(each_postgres_url)
    await store.open()
    yield store
    await store.close()


class TestPostgres(StoreBehaviour):
    """Everything that a store must do."""


@pytest.mark.parametrize(
    "run",
    [
        a_run(due_at=2**70),
        a_run(holder="a\0b"),
        a_run(reference_id="".join(map(chr, range(0x4E00, 0x9E00)))),
    ],
    ids=["instant", "NUL", "beyond the limit of an index"],
)
async def test_what_no_schema_can_keep_is_refused(store: PostgresStore, run: Run) -> None:
    with pytest.raises(InvalidRequest, match="cannot be stored"):
        await Verbs(store).insert_runs([run])


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two servers on one database."""
    stores = (PostgresStore(postgres_url), PostgresStore(postgres_url))
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


async def _signal(store: PostgresStore, news: News) -> None:
    await store.transact(lambda tx: tx.signal(news))


async def _news(store: PostgresStore) -> News:
    return await asyncio.wait_for(store.wait_for_news(lambda: True), LIMIT_SECONDS)


def _session(store: PostgresStore) -> session.Session:
    assert store._opened is not None
    assert store._opened.session is not None
    return store._opened.session


async def _end_session(store: PostgresStore, url: str) -> None:
    """The database ends this store's session for news."""
    connection = _session(store)._connection
    assert connection is not None
    await postgres.execute(
        Address.parse(url).url, f"SELECT pg_terminate_backend({connection.get_server_pid()})"
    )


# News


async def test_a_store_hears_what_others_commit(
    pair: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE_SECONDS", LIMIT_SECONDS)
    one, other = pair
    await _signal(one, News.READY)
    assert await _news(other) == News.READY
    await _signal(one, News.RUNS)
    await _signal(one, News.FACTS)
    heard = News(0)
    while heard != News.RUNS | News.FACTS:
        heard |= await _news(other)


async def test_what_is_rolled_back_is_not_told(
    pair: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE_SECONDS", LIMIT_SECONDS)
    one, other = pair

    async def fail(tx: Transaction) -> None:
        await tx.signal(News.READY)
        await tx.insert_runs([a_run()])
        await tx.load_runs(["r-1"])
        raise KeyError

    with pytest.raises(KeyError):
        await one.transact(fail)
    await _signal(one, News.FACTS)
    assert await _news(other) == News.FACTS


async def test_a_store_does_not_hear_itself_and_looks_after_a_silence(
    pair: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    await _signal(one, News.READY)
    await _news(other)
    assert not _session(one)._heard.is_set()
    monkeypatch.setattr(session, "SILENCE_SECONDS", 0.01)
    assert await _news(one) == ALL_NEWS


async def test_a_listener_that_is_dropped_before_delivery_wakes(
    pair: tuple[PostgresStore, PostgresStore],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "SILENCE_SECONDS", LIMIT_SECONDS)
    one, other = pair
    await _end_session(other, postgres_url)
    await _signal(one, News.READY)
    assert await _news(other) == ALL_NEWS
    await _signal(one, News.READY)
    assert await _news(other) == News.READY


def test_schemas_do_not_hear_each_other() -> None:
    assert channel_of("one") != channel_of("other")
    # A channel's name may have 63 bytes.
    assert len(channel_of("s" * 63)) <= 63
    assert channel_of("s" * 63) != channel_of("s" * 62 + "t")


# Presence


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> int:
        raise NotImplementedError


@pytest.fixture
def hand(pair: tuple[PostgresStore, PostgresStore]) -> Hand:
    """The clock by which the second store judges."""
    hand = Hand()
    opened = pair[1]._opened
    assert opened is not None
    assert opened.presence is not None
    opened.presence._clock = hand
    return hand


async def test_a_dead_process_is_known_at_the_second_look(
    pair: tuple[PostgresStore, PostgresStore], hand: Hand
) -> None:
    one, other = pair
    await one.announce("w-1")
    await other.announce("w-2")
    everybody = ["w-1", "w-2", "unknown"]
    for _ in range(3):
        assert await other.dead(everybody) == []
        hand.seconds += 1
    await one.close()
    assert await other.dead(everybody) == []
    hand.seconds += 0.4
    assert await other.dead(everybody) == []
    hand.seconds += 0.2
    assert await other.dead(everybody) == ["w-1"]
    await other.withdraw("w-1")
    assert await other.dead(everybody) == []
    await one.open()


async def test_who_withdraws_is_not_dead(
    pair: tuple[PostgresStore, PostgresStore], hand: Hand
) -> None:
    one, other = pair
    await one.announce("w-1")
    await one.withdraw("w-1")
    for _ in range(3):
        assert await other.dead(["w-1"]) == []
        hand.seconds += 1


async def test_a_living_process_takes_its_lock_again(
    pair: tuple[PostgresStore, PostgresStore], hand: Hand, postgres_url: str
) -> None:
    one, other = pair
    await one.announce("w-1")
    await _end_session(one, postgres_url)
    assert await _news(one) == ALL_NEWS
    for _ in range(3):
        assert await other.dead(["w-1"]) == []
        hand.seconds += 1


async def test_whose_own_session_broke_judges_nobody_for_a_while(
    pair: tuple[PostgresStore, PostgresStore], hand: Hand, postgres_url: str
) -> None:
    one, other = pair
    await one.announce("w-1")
    await one.close()
    assert await other.dead(["w-1"]) == []
    await _end_session(other, postgres_url)
    assert await _news(other) == ALL_NEWS
    _session(other).since = hand.seconds
    hand.seconds += 1
    assert await other.dead(["w-1"]) == []
    hand.seconds += 10
    assert await other.dead(["w-1"]) == []
    hand.seconds += 1
    assert await other.dead(["w-1"]) == ["w-1"]
    await one.open()


# Claims


async def test_servers_that_pick_at_once_both_get_runs_and_none_waits(
    pair: tuple[PostgresStore, PostgresStore],
) -> None:
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


async def test_what_is_no_longer_queued_is_not_picked(store: PostgresStore) -> None:
    verbs = Verbs(store)
    await verbs.insert_runs([a_run("r-1", "paused"), a_run("r-2")])
    await verbs.insert_outbox([ready(a_run("r-1")), ready(a_run("r-2"))])
    assert await verbs.pick_ready("default", OFFERS, (), 10) == ["r-2"]


async def test_picked_runs_are_loaded_already(store: PostgresStore) -> None:
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


# Writes are kept together, and yet in order


async def test_writes_keep_their_order(store: PostgresStore) -> None:
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


async def test_an_attempt_told_twice_at_once_is_as_if_told_in_turn(store: PostgresStore) -> None:
    verbs = Verbs(store)
    told = [an_attempt(1), an_attempt(1, "failed", ended_at=2), an_attempt(1, "completed")]
    await verbs.save_attempts([AttemptRow("r-1", 1, record) for record in told])
    assert (await verbs.load_attempts([("r-1", 1)]))["r-1"] == [told[1]]


async def test_a_batch_of_reports_takes_four_round_trips(store: PostgresStore) -> None:
    ids = [f"r-{number}" for number in range(50)]
    await store.transact(lambda tx: tx.insert_runs([a_run(id, "running") for id in ids]))

    async def report(tx: Transaction) -> None:
        await tx.load_runs(ids)
        await tx.now()
        await tx.insert_entries([EntryRow(id, 1, an_entry(1)) for id in ids])
        await tx.save_attempts([AttemptRow(id, 1, an_attempt()) for id in ids])

    await store.transact(report)
    before = store.round_trips
    await store.transact(report)
    assert store.round_trips - before == 4


# History


@pytest.mark.parametrize("table", ["transition", "audit", "entry"])
async def test_history_cannot_be_rewritten(
    store: PostgresStore, each_postgres_url: str, table: str
) -> None:
    verbs = Verbs(store)
    await verbs.insert_entries([EntryRow("r-1", 1, an_entry(1))])
    await verbs.insert_transitions([Transition("r-1", 0, "queued", "new", 1, 1, 0)])
    await verbs.insert_audit([AuditRecord("a-1", 1, "default", "alice", "PauseRun", "r-1")])
    other = await connect(each_postgres_url)
    with pytest.raises(asyncpg.RestrictViolationError, match="never changed"):
        await other.execute(f"UPDATE {table} SET at = 99")
    await other.close()


# URLs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "no URL of PostgreSQL"),
        ("postgresql://host/db?schema=No", "schema='No'"),
        ("postgresql://[host/db", "cannot be read"),
    ],
)
def test_a_url_that_names_nothing_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PostgresStore(url)


def test_a_url_may_name_several_hosts_and_hides_its_password() -> None:
    address = Address.parse("postgresql://u:hunter2@a:1,b:2/db?target_session_attrs=read-write")
    assert address.label == "PostgreSQL a:1,b:2/db"
    assert address.url.endswith("?target_session_attrs=read-write")


async def test_an_error_does_not_show_the_password(postgres_url: str) -> None:
    url = postgres_url.replace("/postgres?", "/nowhere?").replace("aiki@", "aiki:hunter2@")
    with pytest.raises(ConfigurationError, match="nowhere") as caught:
        await PostgresStore(url).open()
    assert "hunter2" not in str(caught.value)


async def test_a_store_that_is_not_open_says_so(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="not open"):
        await Verbs(PostgresStore(postgres_url)).load_runs([])


async def test_a_session_that_is_opened_while_the_pool_closes_is_not_kept(
    postgres_url: str,
) -> None:
    dialect = Dialect(Address.parse(postgres_url))
    pool = Pool(dialect, 2, Counts())
    used = await pool.acquire()
    late = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await late
    pool.release(used)
    assert used.connection.is_closed()


async def test_a_cancelled_reader_leaves_its_place_to_others(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the cancellation comes while its transaction is rolled back."""
    store = PostgresStore(postgres_url, pool_size=1)
    await store.open()
    rolling_back = asyncio.Event()
    run = Statements.run

    async def held(self: Statements, name: str, *values: object) -> object:
        if name == "rollback" and not rolling_back.is_set():
            rolling_back.set()
            await asyncio.Event().wait()
        return await run(self, name, *values)

    async def fail(tx: Transaction) -> None:
        raise LookupError

    monkeypatch.setattr(Statements, "run", held)
    reader = asyncio.create_task(store.read(fail))
    await rolling_back.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await store.read(lambda tx: tx.now()) > 0
    await store.close()
