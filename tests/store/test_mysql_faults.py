"""MySQL in trouble: races, locks, broken connections, frozen sessions, a full pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
from asyncmy.errors import IntegrityError, MySQLError

from aiki.errors import InvalidRequest, StoreUnavailable
from aiki.store.mysql import connection, pool, trouble
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import Connection, connect
from aiki.store.mysql.store import MySqlStore
from aiki.store.protocol import Transaction
from aiki.store.records import EntryRow
from tests.services import mysql
from tests.services.proxy import Proxy
from tests.store.behaviour import Verbs, a_run, an_entry

mysql_url = mysql.mysql_url
LIMIT_SECONDS = 20


@pytest.fixture
async def store(mysql_url: str) -> AsyncIterator[MySqlStore]:
    store = MySqlStore(mysql_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def proxy(mysql_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the server."""
    address = Address.parse(mysql_url)
    async with Proxy.to_port(address.port, address.host) as proxy:
        yield proxy


@pytest.fixture
async def through(proxy: Proxy, store: MySqlStore) -> AsyncIterator[MySqlStore]:
    """A store that reaches the database through the proxy."""
    through = MySqlStore(_through(store, proxy))
    await through.open()
    yield through
    proxy.let_through()
    await through.close()


def _through(store: MySqlStore, proxy: Proxy) -> str:
    return f"mysql://{mysql.OWNER}@127.0.0.1:{proxy.port}/{store._address.database}"


async def _blocked(url: str) -> None:
    """Return when a transaction waits for a lock."""
    waiting = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'"
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await mysql.fetch(url, waiting))[0][1] == "0":
            pass


# Races and locks


async def test_who_is_second_with_an_id_looks_again(store: MySqlStore) -> None:
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
    assert tries == 3


async def test_a_key_that_stays_taken_is_told_as_it_is(store: MySqlStore) -> None:
    await Verbs(store).insert_runs([a_run()])
    with pytest.raises(IntegrityError, match="Duplicate entry"):
        await Verbs(store).insert_runs([a_run()])


async def test_deadlocks_are_tried_again(store: MySqlStore) -> None:
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
    assert tries == 3


async def test_locks_are_taken_in_one_order_whatever_the_order_of_asking(
    store: MySqlStore,
) -> None:
    ids = [f"r-{number:03}" for number in range(200)]
    await store.transact(lambda tx: tx.insert_runs([a_run(id) for id in ids]))
    tries = 0

    async def lock(tx: Transaction, wanted: list[str]) -> None:
        nonlocal tries
        tries += 1
        await tx.load_runs(wanted)
        await tx.update_states([a_run(id) for id in wanted])

    orders = [ids, ids[::-1], ids[100:] + ids[:100], ids[::2] + ids[1::2]] * 5
    await asyncio.gather(*(store.transact(partial(lock, wanted=order)) for order in orders))
    assert tries == len(orders)


async def test_a_lock_that_is_held_too_long_is_tried_again(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOCK_WAIT_SECONDS", 1)
    store = MySqlStore(mysql_url)
    await store.open()
    await Verbs(store).insert_runs([a_run()])
    other = await connect(mysql_url)
    await _lock_all(other)
    tries = 0

    async def lock(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            await other.send(b"COMMIT")
        await tx.insert_runs([a_run("r-2")])
        await tx.load_runs(["r-1"])

    await store.transact(lock)
    assert tries == 2
    await _lock_all(other)
    monkeypatch.setattr(trouble, "_TRIES", 1)
    with pytest.raises(StoreUnavailable, match="Lock wait timeout"):
        await store.transact(_insert_and_lock)
    # What the statement before it did is undone too, although the server undoes only the last.
    assert len(await store.read(lambda tx: tx.load_runs(["r-2", "r-3"]))) == 1
    await other.close()
    await store.close()


async def _lock_all(other: Connection) -> None:
    await other.send(b"BEGIN; SELECT * FROM run FOR UPDATE")


async def _insert_and_lock(tx: Transaction) -> None:
    await tx.insert_runs([a_run("r-3")])
    await tx.load_runs(["r-1"])


async def test_the_instant_after_a_lock_is_not_before_what_its_holder_saw(
    store: MySqlStore, mysql_url: str
) -> None:
    await Verbs(store).insert_runs([a_run()])
    locked, done = asyncio.Event(), asyncio.Event()

    async def hold(tx: Transaction) -> None:
        await tx.load_runs(["r-1"])
        locked.set()
        await done.wait()

    async def follow(tx: Transaction) -> int:
        await tx.now()
        await tx.load_runs(["r-1"])
        return await tx.now()

    other = MySqlStore(mysql_url)
    await other.open()
    holding = asyncio.create_task(store.transact(hold))
    await locked.wait()
    following = asyncio.create_task(other.transact(follow))
    await _blocked(mysql_url)
    begun = await store.read(lambda tx: tx.now())
    async with asyncio.timeout(LIMIT_SECONDS):
        while (seen := await store.read(lambda tx: tx.now())) < begun + 20:
            pass
    done.set()
    await holding
    assert await following >= seen
    await other.close()


async def test_an_error_that_the_work_swallows_undoes_it_all_the_same(store: MySqlStore) -> None:
    await Verbs(store).insert_runs([a_run()])

    async def swallow(tx: Transaction) -> None:
        await tx.insert_runs([a_run("r-2")])
        await tx.insert_runs([a_run("r-1")])
        with suppress(MySQLError):
            await tx.load_runs(["r-1"])
        with suppress(MySQLError):
            await tx.renew_worker("default", "w-1", [], 1)

    with pytest.raises(IntegrityError, match="Duplicate entry"):
        await store.transact(swallow)
    assert await Verbs(store).load_runs(["r-2"]) == []


async def test_after_a_deadlock_nothing_is_committed_by_itself(store: MySqlStore) -> None:
    await store.transact(lambda tx: tx.insert_runs([a_run("a"), a_run("b")]))
    both_hold = asyncio.Barrier(2)
    lost: list[str] = []

    async def lock(tx: Transaction, first: str, second: str) -> None:
        await tx.load_runs([first])
        if not lost:
            with suppress(asyncio.BrokenBarrierError):
                await both_hold.wait()
        try:
            await tx.load_runs([second])
        except MySQLError:
            # The server has ended the transaction; the work goes on as if nothing was.
            lost.append(first)
            await tx.insert_runs([a_run(f"stray-{first}")])
            await tx.load_runs([first])

    with suppress(StoreUnavailable):
        await asyncio.gather(
            store.transact(lambda tx: lock(tx, "a", "b")),
            store.transact(lambda tx: lock(tx, "b", "a")),
        )
    assert len(lost) == 1
    assert await Verbs(store).load_runs(["stray-a", "stray-b"]) == []


async def test_what_can_never_be_stored_is_told_at_once(store: MySqlStore) -> None:
    tries = 0

    async def write(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.insert_runs([a_run(workflow="x" * 900)])

    with pytest.raises(InvalidRequest, match="Data too long"):
        await store.transact(write)
    assert tries == 1


# Connections


async def test_a_commit_whose_answer_is_lost_is_made_once(
    through: MySqlStore, proxy: Proxy
) -> None:
    seen: list[tuple[bool, int]] = []

    async def start(tx: Transaction) -> str:
        found = await tx.load_runs(["r-1"])
        seen.append((tx.repeated, len(found)))
        if not found:
            await tx.insert_runs([a_run()])
            await tx.insert_entries([EntryRow("r-1", 1, an_entry(1))])
        return "started"

    proxy.cut_after(b";COMMIT")
    assert await through.transact(start) == "started"
    assert proxy.cuts == 1
    assert seen == [(False, 0), (True, 1)]


async def test_a_connection_that_breaks_before_the_commit_raises_no_doubt(
    through: MySqlStore, proxy: Proxy
) -> None:
    seen: list[bool] = []

    async def start(tx: Transaction) -> None:
        seen.append(tx.repeated)
        await tx.now()
        if len(seen) == 1:
            proxy.cut()
        await tx.load_runs(["r-1"])

    await through.transact(start)
    assert seen == [False, False]


async def test_a_packet_that_fails_before_its_commit_raises_no_doubt(store: MySqlStore) -> None:
    await Verbs(store).insert_runs([a_run()])
    seen: list[bool] = []

    async def start(tx: Transaction) -> None:
        seen.append(tx.repeated)
        await tx.insert_runs([a_run("r-2")])
        if len(seen) == 1:
            await tx.insert_runs([a_run("r-1")])

    await store.transact(start)
    assert seen == [False, False]


async def test_a_read_is_repeated_on_another_connection(through: MySqlStore, proxy: Proxy) -> None:
    await through.read(lambda tx: tx.load_runs([]))
    proxy.cut()
    assert await through.read(lambda tx: tx.load_runs(["r-1"])) == []


def _farewell(number: int) -> bytes:
    """What a server says to a session that it ends; here the line does not break."""
    body = b"\xff" + number.to_bytes(2, "little") + b"#08S01the session is ended"
    return len(body).to_bytes(3, "little") + b"\0" + body


@pytest.mark.parametrize("number", [1053, 1927, 4031])
async def test_a_session_whose_end_is_announced_before_its_line_breaks_is_replaced(
    through: MySqlStore, proxy: Proxy, number: int
) -> None:
    async def start(tx: Transaction) -> None:
        if not await tx.load_runs(["r-1"]):
            await tx.insert_runs([a_run()])

    await through.transact(lambda tx: tx.load_runs(["r-0"]))
    await through.read(lambda tx: tx.load_runs(["r-0"]))
    await proxy.say(_farewell(number))
    for _ in range(10):
        await asyncio.sleep(0)
    assert await through.read(lambda tx: tx.load_runs(["r-0"])) == []
    await through.transact(start)
    assert len(await through.read(lambda tx: tx.load_runs(["r-1"]))) == 1


async def test_a_black_hole_is_told_in_time_and_forgotten_when_it_ends(
    store: MySqlStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(connection, "COMMAND_SECONDS", 0.3)
    monkeypatch.setattr(trouble, "_TRIES", 2)
    through = MySqlStore(_through(store, proxy))
    await through.open()
    # Now one connection is open: the statement on it is lost, and then the next connection.
    await Verbs(through).insert_runs([a_run()])
    proxy.black_hole()
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        await asyncio.wait_for(Verbs(through).insert_runs([a_run("r-2")]), LIMIT_SECONDS)
    proxy.let_through()
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await _inserted(through, "r-3"):
            pass
    await through.close()


async def _inserted(store: MySqlStore, id: str) -> bool:
    """Whether the database answers again: what it held back may still come between."""
    with suppress(StoreUnavailable):
        await Verbs(store).insert_runs([a_run(id)])
        return True
    return False


async def test_a_call_that_is_cancelled_takes_its_connection_along(
    store: MySqlStore, mysql_url: str
) -> None:
    await Verbs(store).insert_runs([a_run()])
    other = await connect(mysql_url)
    await _lock_all(other)
    waiting = asyncio.create_task(store.transact(lambda tx: tx.load_runs(["r-1"])))
    await _blocked(mysql_url)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await other.send(b"COMMIT")
    await other.close()
    for number in range(10):
        id = f"s-{number}"
        await Verbs(store).insert_runs([a_run(id)])
        assert await Verbs(store).load_runs([id]) == [a_run(id)]


async def test_sessions_that_idle_are_closed_here_first(
    store: MySqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(0.0)
    monkeypatch.setattr(pool, "SYSTEM", hand)
    together = asyncio.Barrier(3)

    async def meet(tx: Transaction) -> int:
        await tx.load_runs([])
        await together.wait()
        return tx._statements.connection.id  # type: ignore[attr-defined, no-any-return]

    first = set(await asyncio.gather(*(store.transact(meet) for _ in range(3))))
    assert len(first) == 3
    hand.seconds += pool._REST_SECONDS + 1
    then = await asyncio.gather(*(store.transact(meet) for _ in range(3)))
    assert first.isdisjoint(then)


@dataclass
class Hand:
    """A clock that a test moves."""

    seconds: float

    def monotonic(self) -> float:
        return self.seconds


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match=r"MySQL 127\.0\.0\.1:1/db"):
        await MySqlStore("mysql://u@127.0.0.1:1/db").open()


# Sessions that hold what others need


async def test_slow_reads_do_not_hold_up_a_heartbeat(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MySqlStore(mysql_url, pool_size=2)
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
    store: MySqlStore, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 1)
    await Verbs(store).insert_runs([a_run()])
    frozen = MySqlStore(mysql_url)
    await frozen.open()
    thawed, locked = asyncio.Event(), asyncio.Event()
    seen: list[tuple[bool, str]] = []

    async def freeze(tx: Transaction) -> None:
        (run,) = await tx.load_runs(["r-1"])
        seen.append((tx.repeated, run.state.status))
        locked.set()
        await thawed.wait()
        await tx.update_states([a_run(status="paused")])
        await tx.load_runs(["r-1"])

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
