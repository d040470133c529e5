"""MySQL between servers: what they tell each other, and how they know who lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from aiki.store.mysql import news, presence
from aiki.store.mysql.store import MySqlStore
from aiki.store.protocol import Transaction
from aiki.store.records import ALL_NEWS, News
from tests.services import mysql
from tests.store.behaviour import Verbs, a_run

mysql_url = mysql.mysql_url
LIMIT_SECONDS = 20
Pair = tuple[MySqlStore, MySqlStore]


@pytest.fixture
async def pair(mysql_url: str) -> AsyncIterator[Pair]:
    """Two servers on one database."""
    stores = (MySqlStore(mysql_url), MySqlStore(mysql_url))
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


# News


class Pauses:
    """Pauses that are over in no time; what they would have been is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.milliseconds: list[int] = []
        monkeypatch.setattr(news, "_pause", self._pause)

    async def _pause(self, milliseconds: float, cut: asyncio.Event) -> bool:
        self.milliseconds.append(round(milliseconds))
        return cut.is_set()


@pytest.fixture
async def ears(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two servers that listen already, and are told of no silence."""
    for store in pair:
        assert await _news(store) == ALL_NEWS
    monkeypatch.setattr(news, "SILENCE_MS", float("inf"))
    return pair


async def _signal(store: MySqlStore, told: News) -> None:
    await store.transact(lambda tx: tx.signal(told))


async def _news(store: MySqlStore) -> News:
    return await asyncio.wait_for(store.wait_for_news(lambda: True), LIMIT_SECONDS)


async def test_a_store_hears_what_others_commit(ears: Pair) -> None:
    one, other = ears
    await _signal(one, News.READY)
    assert await _news(other) == News.READY
    await _signal(one, News.RUNS)
    await _signal(one, News.FACTS)
    assert await _news(other) == News.RUNS | News.FACTS


async def test_sessions_that_tell_at_once_are_all_heard_and_none_waits(ears: Pair) -> None:
    one, other = ears
    together = asyncio.Barrier(3)

    async def tell(tx: Transaction, told: News) -> None:
        await tx.signal(told)
        await tx.now()
        await together.wait()

    kinds = (News.READY, News.RUNS, News.FACTS)
    await asyncio.gather(*(one.transact(partial(tell, told=kind)) for kind in kinds))
    heard = News(0)
    while heard != ALL_NEWS:
        heard |= await _news(other)


async def test_what_is_rolled_back_is_not_told(ears: Pair) -> None:
    one, other = ears

    async def fail(tx: Transaction) -> None:
        await tx.signal(News.READY)
        await tx.insert_runs([a_run()])
        await tx.load_runs(["r-1"])
        raise KeyError

    with pytest.raises(KeyError):
        await one.transact(fail)
    await _signal(one, News.FACTS)
    assert await _news(other) == News.FACTS


async def test_a_store_does_not_hear_itself(ears: Pair) -> None:
    one, other = ears
    await _signal(one, News.READY)
    await _signal(other, News.FACTS)
    assert await _news(one) == News.FACTS
    assert await _news(other) == News.READY


async def test_after_a_silence_whoever_waits_looks(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = pair
    pauses = Pauses(monkeypatch)
    await _news(store)
    await _signal(store, News.READY)
    assert await _news(store) == ALL_NEWS
    assert sum(pauses.milliseconds) >= news.SILENCE_MS


async def test_pauses_grow_while_nothing_happens(
    ears: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "SILENCE_MS", 5_000)
    one, other = ears
    pauses = Pauses(monkeypatch)
    await _news(one)
    assert pauses.milliseconds[0] == 20
    assert pauses.milliseconds == sorted(pauses.milliseconds)
    assert pauses.milliseconds[-1] == 250
    await one.wait_for_news(lambda: False)
    assert pauses.milliseconds[-1] == 1_000
    await _signal(other, News.READY)
    await _news(one)
    await _signal(other, News.READY)
    await _news(one)
    assert pauses.milliseconds[-1] == 20


async def test_a_commit_here_cuts_the_pause(ears: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "LONGEST_WAITING_MS", float("inf"))
    one, other = ears
    one._listener._next_ms = 1_000_000
    waiting = asyncio.create_task(_news(one))
    await _signal(other, News.READY)
    await Verbs(one).insert_runs([a_run()])
    assert await waiting == News.READY


async def test_counts_of_those_who_left_expire(ears: Pair, mysql_url: str) -> None:
    one, other = ears
    await _signal(one, News.READY)
    await Verbs(other).expire_workers(0)
    assert len(await mysql.fetch(mysql_url, "SELECT sender FROM news")) == 1
    await Verbs(other).expire_workers(2**62)
    assert await mysql.fetch(mysql_url, "SELECT sender FROM news") == []


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
def hand(pair: Pair) -> Hand:
    """The clock by which the second store judges."""
    hand = Hand()
    assert pair[1]._opened is not None
    pair[1]._opened.judge._clock = hand
    return hand


def _holder(store: MySqlStore) -> presence.Holder:
    assert store._opened is not None
    return store._opened.holder


async def _end_session(store: MySqlStore, url: str) -> None:
    """The database ends the session that holds this store's locks; return when there is another."""
    ended = _holder(store)._connection
    assert ended is not None
    await mysql.execute(url, f"KILL {ended.id}")
    async with asyncio.timeout(LIMIT_SECONDS):
        while _holder(store)._connection is ended:
            await mysql.execute(url, "DO 0")


async def _free(store: MySqlStore, incarnation: str) -> None:
    """Return when the server has noticed that the lock's session is gone."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await store.read(lambda tx: tx.free_presences([incarnation])):
            pass


async def test_a_dead_process_is_known_at_the_second_look(pair: Pair, hand: Hand) -> None:
    one, other = pair
    await one.announce("w-1")
    await other.announce("w-2")
    everybody = ["w-1", "w-2", "unknown"]
    for _ in range(3):
        assert await other.dead(everybody) == []
        hand.seconds += 1
    await one.close()
    await _free(other, "w-1")
    assert await other.dead(everybody) == []
    hand.seconds += 0.4
    assert await other.dead(everybody) == []
    hand.seconds += 0.2
    assert await other.dead(everybody) == ["w-1"]
    await other.withdraw("w-1")
    assert await other.dead(everybody) == []
    await one.open()


async def test_who_withdraws_is_not_dead(pair: Pair, hand: Hand) -> None:
    one, other = pair
    await one.announce("w-1")
    await one.withdraw("w-1")
    for _ in range(3):
        assert await other.dead(["w-1"]) == []
        hand.seconds += 1


async def test_a_living_process_takes_its_lock_again(
    pair: Pair, hand: Hand, mysql_url: str
) -> None:
    one, other = pair
    await one.announce("w-1")
    await _end_session(one, mysql_url)
    for _ in range(3):
        assert await other.dead(["w-1"]) == []
        hand.seconds += 1


async def test_whose_own_session_broke_judges_nobody_for_a_while(
    pair: Pair, hand: Hand, mysql_url: str
) -> None:
    one, other = pair
    await one.announce("w-1")
    await one.close()
    await _free(other, "w-1")
    assert await other.dead(["w-1"]) == []
    await _end_session(other, mysql_url)
    _holder(other).since = hand.seconds
    hand.seconds += 1
    assert await other.dead(["w-1"]) == []
    hand.seconds += 10
    assert await other.dead(["w-1"]) == []
    hand.seconds += 1
    assert await other.dead(["w-1"]) == ["w-1"]
    await one.open()


async def test_whoever_announced_on_another_server_is_not_judged(
    pair: Pair, hand: Hand, mysql_url: str
) -> None:
    one, other = pair
    await one.announce("w-1")
    await one.close()
    await _free(other, "w-1")
    await mysql.execute(mysql_url, "UPDATE announced SET server = 'elsewhere:3306'")
    for _ in range(3):
        assert await other.dead(["w-1"]) == []
        hand.seconds += 1
    await one.open()
