"""PostgreSQL in trouble: races, locks, broken connections, frozen sessions, a full pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from aiki.errors import ConfigurationError, StoreUnavailable
from aiki.store.postgres import connection, pool, trouble
from aiki.store.postgres.connection import connect
from aiki.store.postgres.store import PostgresStore
from aiki.store.protocol import Transaction
from aiki.store.records import ALL_NEWS, EntryRow, News
from tests.services import postgres
from tests.services.proxy import Proxy
from tests.store.behaviour import Verbs, a_run, an_entry

postgres_url = postgres.postgres_url
LIMIT_SECONDS = 20


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(postgres_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def proxy(store: PostgresStore) -> AsyncIterator[Proxy]:
    """A proxy before the server."""
    socket = postgres.postgres(postgres.versions()[0]).socket
    if socket is None:
        pytest.skip("the socket of the server that was given is unknown")
    async with Proxy.to_unix(f"{socket}/.s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
async def through(proxy: Proxy, postgres_url: str) -> AsyncIterator[PostgresStore]:
    """A store that reaches the database through the proxy."""
    schema = postgres_url.partition("schema=")[2]
    url = f"postgresql://aiki@127.0.0.1:{proxy.port}/postgres?sslmode=disable&schema={schema}"
    store = PostgresStore(url)
    await store.open()
    yield store
    proxy.let_through()
    await store.close()


# Races and locks


async def test_who_is_second_with_an_id_looks_again(store: PostgresStore) -> None:
    both_looked = asyncio.Barrier(2)
    tries = 0

    async def start(tx: Transaction) -> str:
        nonlocal tries
        tries += 1
        if await tx.load_runs(["r-1"]):
            return "found"
        if tries <= 2:
            await both_looked.wait()
        await tx.insert_runs([a_run()])
        return "started"

    answers = await asyncio.gather(store.transact(start), store.transact(start))
    assert sorted(answers) == ["found", "started"]
    assert tries >= 3, "a slow machine meets more than one deadlock"


async def test_deadlocks_are_tried_again(store: PostgresStore) -> None:
    await store.transact(lambda tx: tx.insert_runs([a_run("a"), a_run("b")]))
    both_hold = asyncio.Barrier(2)
    tries = 0

    async def lock(tx: Transaction, first: str, second: str) -> None:
        nonlocal tries
        tries += 1
        await tx.load_runs([first])
        if tries <= 2:
            await both_hold.wait()
        await tx.load_runs([second])

    await asyncio.gather(
        store.transact(lambda tx: lock(tx, "a", "b")), store.transact(lambda tx: lock(tx, "b", "a"))
    )
    assert tries >= 3, "a slow machine meets more than one deadlock"


async def test_a_lock_that_is_held_too_long_is_tried_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection._LIMITS, "lock_timeout", "50")
    store = PostgresStore(postgres_url)
    await store.open()
    await Verbs(store).insert_runs([a_run()])
    other = await connect(postgres_url)
    await other.execute("BEGIN; SELECT * FROM run FOR UPDATE")
    tries = 0

    async def lock(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            await other.execute("COMMIT")
        await tx.load_runs(["r-1"])

    await store.transact(lock)
    assert tries == 2
    await other.execute("BEGIN; SELECT * FROM run FOR UPDATE")
    monkeypatch.setattr(trouble, "_TRIES", 2)
    with pytest.raises(StoreUnavailable, match="lock timeout"):
        await Verbs(store).load_runs(["r-1"])
    await other.close()
    await store.close()


async def test_an_error_that_the_work_swallows_undoes_it_all_the_same(store: PostgresStore) -> None:
    await Verbs(store).insert_runs([a_run()])

    async def swallow(tx: Transaction) -> None:
        await tx.insert_runs([a_run("r-2")])
        await tx.insert_runs([a_run("r-1")])
        with suppress(asyncpg.UniqueViolationError):
            await tx.load_runs(["r-1"])

    with pytest.raises(Exception, match="run_pkey"):
        await store.transact(swallow)
    assert await Verbs(store).load_runs(["r-2"]) == []


async def test_what_can_never_be_stored_is_told_at_once(store: PostgresStore) -> None:
    tries = 0

    async def write(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.insert_runs([a_run(workflow="zero\x00")])

    with pytest.raises(Exception, match="0x00"):
        await store.transact(write)
    assert tries == 1


# Connections


async def test_a_commit_whose_answer_is_lost_is_made_once(
    through: PostgresStore, proxy: Proxy
) -> None:
    seen: list[tuple[bool, int]] = []

    async def start(tx: Transaction) -> str:
        found = await tx.load_runs(["r-1"])
        seen.append((tx.repeated, len(found)))
        if not found:
            await tx.insert_runs([a_run()])
            await tx.insert_entries([EntryRow("r-1", 1, an_entry(1))])
        return "started"

    proxy.cut_after(b"COMMIT\x00")
    assert await through.transact(start) == "started"
    assert proxy.cuts == 1
    assert seen == [(False, 0), (True, 1)]


async def test_a_connection_that_breaks_before_the_commit_raises_no_doubt(
    through: PostgresStore, proxy: Proxy
) -> None:
    seen: list[bool] = []

    async def start(tx: Transaction) -> None:
        seen.append(tx.repeated)
        if len(seen) == 1:
            proxy.cut()
        await tx.load_runs(["r-1"])

    await through.transact(start)
    assert seen == [False, False]


async def test_a_read_is_repeated_on_another_connection(
    through: PostgresStore, proxy: Proxy
) -> None:
    await through.read(lambda tx: tx.load_runs([]))
    proxy.cut()
    assert await through.read(lambda tx: tx.load_runs(["r-1"])) == []


def _fatal() -> bytes:
    """What a server says to a session that it ends; here the line does not break."""
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


@pytest.mark.parametrize("begin", ["at once", "by reading", "by locking"])
async def test_a_session_whose_end_is_announced_before_its_line_breaks_is_replaced(
    through: PostgresStore, proxy: Proxy, begin: str
) -> None:
    """The driver has heard the one and not the other, and takes no statement any more."""

    async def work(tx: Transaction) -> int:
        if begin == "by reading":
            await tx.guard_runs(["r-0"])
        if begin == "by locking":
            await tx.load_runs(["r-0"])
        await tx.insert_runs([a_run()])
        return len(await tx.load_runs(["r-1"]))

    await through.transact(lambda tx: tx.load_runs(["r-0"]))
    await through.read(lambda tx: tx.load_runs(["r-0"]))
    await proxy.say(_fatal())
    for _ in range(10):
        await asyncio.sleep(0)
    assert await through.read(lambda tx: tx.load_runs(["r-0"])) == []
    assert await through.transact(work) == 1


async def test_a_black_hole_is_told_in_time_and_forgotten_when_it_ends(
    through: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(connection, "COMMAND_SECONDS", 0.2)
    monkeypatch.setattr(trouble, "_TRIES", 2)
    store = PostgresStore(through._url)
    await store.open()
    # Now one connection is open: the statement on it is lost, and then the next connection.
    await Verbs(store).insert_runs([a_run()])
    proxy.black_hole()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(Verbs(store).insert_runs([a_run("r-2")]), LIMIT_SECONDS)
    proxy.let_through()
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await _inserted(store, "r-3"):
            pass
    await store.close()


async def _inserted(store: PostgresStore, id: str) -> bool:
    """Whether the database answers again: what it held back may still come between."""
    with suppress(StoreUnavailable):
        await Verbs(store).insert_runs([a_run(id)])
        return True
    return False


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match=r"PostgreSQL 127\.0\.0\.1:1/db"):
        await PostgresStore("postgresql://u@127.0.0.1:1/db").open()


async def test_a_full_server_is_unavailable(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    monkeypatch.setattr(trouble, "_TRIES", 2)
    await postgres.execute(
        postgres_url.partition("&schema")[0],
        "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0",
    )
    crowded = PostgresStore(postgres_url.replace("//aiki@", "//crowded@"))
    with pytest.raises(StoreUnavailable, match="too many connections"):
        await crowded.open()
    await postgres.execute(postgres_url.partition("&schema")[0], "DROP ROLE crowded")


# Sessions that hold what others need


async def test_slow_reads_do_not_hold_up_a_heartbeat(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(postgres_url, pool_size=2)
    await store.open()
    monkeypatch.setattr(pool, "_WAIT_SECONDS", 0.1)
    reading, done = asyncio.Barrier(3), asyncio.Event()

    async def slow(tx: Transaction) -> None:
        await tx.load_runs([])
        await reading.wait()
        await done.wait()

    reads = [asyncio.create_task(store.read(slow)) for _ in range(2)]
    await reading.wait()
    with pytest.raises(StoreUnavailable, match="stay in use"):
        await store.read(lambda tx: tx.load_runs([]))
    renewed = await store.transact(lambda tx: tx.renew_worker("default", "w-1", [], 1))
    assert not renewed
    done.set()
    await asyncio.gather(*reads)
    await store.close()


async def test_a_session_that_freezes_in_a_transaction_loses_its_locks(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection._LIMITS, "idle_in_transaction_session_timeout", "100")
    await Verbs(store).insert_runs([a_run()])
    frozen = PostgresStore(postgres_url)
    await frozen.open()
    thawed, locked = asyncio.Event(), asyncio.Event()
    seen: list[tuple[bool, str]] = []

    async def freeze(tx: Transaction) -> None:
        (run,) = await tx.load_runs(["r-1"])
        seen.append((tx.repeated, run.state.status))
        locked.set()
        await thawed.wait()
        await tx.update_states([a_run(status="paused")])

    freezing = asyncio.create_task(frozen.transact(freeze))
    await locked.wait()

    async def complete(tx: Transaction) -> None:
        await tx.load_runs(["r-1"])
        await tx.update_states([a_run(status="completed")])

    await asyncio.wait_for(store.transact(complete), LIMIT_SECONDS)
    thawed.set()
    await freezing
    assert seen == [(False, "queued"), (False, "completed")]
    await frozen.close()


async def test_a_database_that_only_reads_is_unavailable_for_writes(
    store: PostgresStore, postgres_url: str
) -> None:
    reader = PostgresStore(postgres_url + "&default_transaction_read_only=on")
    await reader.open()
    assert await reader.read(lambda tx: tx.load_runs(["r-1"])) == []
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        await Verbs(reader).insert_runs([a_run()])
    await reader.close()


# Replicas and poolers


async def test_lists_go_to_the_replica_while_it_answers(
    store: PostgresStore, postgres_url: str
) -> None:
    url = postgres_url.partition("&schema")[0]
    browsing = PostgresStore(postgres_url, read_url=f"{url}&application_name=replica")
    await browsing.open()
    opened = browsing._opened
    assert opened is not None
    assert opened.browsers is not None
    assert await browsing.browse(lambda tx: tx.load_runs(["r-1"])) == []
    (idle,) = opened.browsers._idle
    assert opened.readers._idle == []
    assert (
        await idle.connection.fetchval("SHOW search_path") == postgres_url.partition("schema=")[2]
    )
    await browsing.close()


async def test_the_primary_answers_where_the_replica_does_not(
    store: PostgresStore, postgres_url: str
) -> None:
    await Verbs(store).insert_runs([a_run()])
    lonely = PostgresStore(postgres_url, read_url="postgresql://u@127.0.0.1:1/db")
    await lonely.open()
    assert await lonely.browse(lambda tx: tx.load_runs(["r-1"])) == [a_run()]
    assert await lonely.browse(lambda tx: tx.load_runs(["r-1"])) == [a_run()]
    with pytest.raises(KeyError):
        await lonely.browse(_fail)
    await lonely.close()


async def _fail(tx: Transaction) -> None:
    raise KeyError


async def test_behind_a_pooler_there_is_no_session(
    store: PostgresStore,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def pooled(_: object) -> bool:
        return True

    monkeypatch.setattr(connection, "_is_pooled", pooled)
    monkeypatch.setattr(PostgresStore, "POLL_MS", (1, 60_000))
    behind = PostgresStore(postgres_url)
    with caplog.at_level(logging.WARNING, "aiki.store"):
        await behind.open()
    assert "listen_url" in caplog.text
    await Verbs(behind).insert_runs([a_run()])
    assert await behind.read(lambda tx: tx.load_runs(["r-1"])) == [a_run()]
    assert await behind.transact(_limit) == "5s"
    await behind.announce("w-1")
    assert await behind.dead(["w-1", "w-2"]) == []
    await behind.withdraw("w-1")
    assert await behind.wait_for_news(lambda: True) == ALL_NEWS
    await behind.close()


async def _limit(tx: Transaction) -> str:
    limit: str = await tx._statements.connection.fetchval(  # type: ignore[attr-defined]
        "SHOW statement_timeout"
    )
    return limit


async def test_news_are_told_through_a_pooler_all_the_same(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pooled(_: object) -> bool:
        return True

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_is_pooled", pooled)
        behind = PostgresStore(postgres_url)
        await behind.open()
    await behind.transact(lambda tx: tx.signal(News.READY))
    heard = await asyncio.wait_for(store.wait_for_news(lambda: True), LIMIT_SECONDS)
    assert heard & News.READY
    await behind.close()


async def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OLDEST", 99)
    with pytest.raises(ConfigurationError, match="needs 99 or newer"):
        await PostgresStore(postgres_url).open()
