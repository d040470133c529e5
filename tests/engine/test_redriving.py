"""Laws: a dead letter is delivered again once, and kept where that cannot be done."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiki.engine.batch import Batch
from aiki.engine.daemons import forget, recover, retention, stall
from aiki.errors import InvalidTransition, NotFound
from aiki.ids import new_id
from aiki.model.worker import DeadLetter
from aiki.operations.catalog import ListDeadLetters, RedriveDeadLetter, Redriven
from aiki.operations.runs import GetRun, RedeliverRun
from aiki.operations.work import RefusedMessage, RefuseMessages
from tests.engine.board import announced, turns_until
from tests.engine.support import COMPLETE, LEASE_MS, Ring, ids_of
from tests.support.databases import KIND

DAY_MS = 86_400_000


async def letters_of(ring: Ring) -> tuple[DeadLetter, ...]:
    letters: tuple[DeadLetter, ...] = await ring.call(ListDeadLetters())
    return letters


async def refused(ring: Ring, content: str) -> DeadLetter:
    """The letter of a message with this content, which no worker understood."""
    message = RefusedMessage("workflow:orders", "1-0", "it has a field 'x'", content)
    incarnation = await ring.worker(new_id())
    await ring.call(RefuseMessages(incarnation=incarnation, messages=(message,)))
    return (await letters_of(ring))[0]


async def test_the_run_of_a_message_is_announced_again(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, _):
        run_id = await ring.start()
        await turns_until(lambda: board.runs == [run_id])
        letter = await refused(ring, f"v 9 run {run_id}")
        redriven = await ring.call(RedriveDeadLetter(id=letter.id))
        assert redriven == Redriven(run_id, "announced")
        await turns_until(lambda: board.runs == [run_id, run_id])
        assert await letters_of(ring) == ()


async def test_a_letter_stays_whose_run_waits_for_no_worker(ring: Ring) -> None:
    run = await ring.running()
    letter = await refused(ring, f"run {run.id}")
    error = await ring.refused(RedriveDeadLetter(id=letter.id))
    assert isinstance(error, InvalidTransition)
    assert "is running" in str(error)
    assert await letters_of(ring) == (letter,)


async def test_a_letter_stays_that_names_no_run(ring: Ring) -> None:
    letter = await refused(ring, "hello")
    error = await ring.refused(RedriveDeadLetter(id=letter.id))
    assert isinstance(error, InvalidTransition)
    assert "names no run" in str(error)
    forged = await refused_run_of_nobody(ring)
    assert isinstance(forged, NotFound)


async def refused_run_of_nobody(ring: Ring) -> Exception:
    """Redrive the letter of a message whose run does not exist."""
    message = RefusedMessage("workflow:orders", "9-0", "odd", f"run {new_id()}")
    incarnation = await ring.worker(new_id())
    await ring.call(RefuseMessages(incarnation=incarnation, messages=(message,)))
    newest = (await letters_of(ring))[0]
    return await ring.refused(RedriveDeadLetter(id=newest.id))


async def set_aside(ring: Ring) -> tuple[str, DeadLetter]:
    """A run that has ended because it killed its workers, and its letter."""
    run_id = await ring.start(input=b"[5]")
    for number in range(5):
        assert ids_of(await ring.claim(await ring.worker(f"victim-{number}"))) == [run_id]
        await ring.pass_time(LEASE_MS + 1)
        assert await recover(ring.engine) == 1
    (letter,) = await letters_of(ring)
    return run_id, letter


async def stalled(ring: Ring) -> tuple[str, DeadLetter]:
    """A run that nobody served for a day, and its letter."""
    run_id = await ring.start()
    await ring.pass_time(DAY_MS + 1)
    assert await stall(ring.engine) == 1
    (letter,) = await letters_of(ring)
    return run_id, letter


async def test_a_run_that_was_set_aside_starts_anew(ring: Ring) -> None:
    run_id, letter = await set_aside(ring)
    redriven = await ring.call(RedriveDeadLetter(id=letter.id))
    assert redriven.verdict == "started"
    await ring.worker()
    new = await ring.take()
    assert (new.id, new.input) == (redriven.run_id, b"[5]")
    await ring.report(new, COMPLETE)
    assert (await ring.call(GetRun(id=run_id))).ended
    assert await letters_of(ring) == ()


@pytest.mark.skipif(KIND == "sqlite", reason="only one server writes to a file")
async def test_two_servers_that_are_asked_at_once_start_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the letter when the first of them writes."""
    async with AsyncExitStack() as stack:
        rings = [Ring(tmp_path / "a.db"), Ring(tmp_path / "a.db")]
        for ring in rings:
            await ring.engine.start()
            stack.push_async_callback(ring.engine.stop)
        run_id, letter = await set_aside(rings[0])
        both = asyncio.Barrier(2)
        held = [both.wait(), both.wait()]
        load = Batch.load

        async def together(batch: Batch) -> None:
            if letter.id in batch.letters and held:
                await held.pop()
            await load(batch)

        monkeypatch.setattr(Batch, "load", together)
        redrive = RedriveDeadLetter(id=letter.id)
        answers = await asyncio.gather(
            *(ring.api.call(redrive) for ring in rings), return_exceptions=True
        )
        started = {answer.run_id for answer in answers if isinstance(answer, Redriven)}
        assert len(started) == 1
        assert {type(answer) for answer in answers} <= {Redriven, NotFound}
        runs = rings[0].rows("SELECT id FROM run")
        assert {run for (run,) in runs} == {run_id} | started


async def test_a_stalled_run_is_offered_again_by_its_letter(ring: Ring) -> None:
    run_id, letter = await stalled(ring)
    redriven = await ring.call(RedriveDeadLetter(id=letter.id))
    assert redriven == Redriven(run_id, "announced")
    assert await ring.status(run_id) == "queued"
    assert await letters_of(ring) == ()


async def test_a_run_that_is_redelivered_has_no_letter(ring: Ring) -> None:
    run_id, _ = await stalled(ring)
    await ring.call(RedeliverRun(id=run_id))
    assert await letters_of(ring) == ()


async def test_a_letter_stays_whose_run_was_cancelled(ring: Ring) -> None:
    run_id, letter = await stalled(ring)
    assert await ring.cancel(run_id) == "cancelled"
    error = await ring.refused(RedriveDeadLetter(id=letter.id))
    assert isinstance(error, InvalidTransition)
    assert "is cancelled" in str(error)
    assert await letters_of(ring) == (letter,)


async def test_letters_go_with_their_runs_or_with_time(ring: Ring) -> None:
    run_id, about_a_run = await stalled(ring)
    await refused(ring, "hello")
    await ring.pass_time(70 * DAY_MS)
    await forget(ring.engine)
    assert await letters_of(ring) == (about_a_run,)
    await ring.cancel(run_id)
    await ring.pass_time(31 * DAY_MS)
    assert await retention(ring.engine) == 1
    assert await letters_of(ring) == ()


async def test_letters_are_listed_in_pages(ring: Ring) -> None:
    for content in "abc":
        await refused(ring, content)
    first, second, third = await letters_of(ring)
    page = ListDeadLetters(limit=2)
    assert await ring.call(page) == (first, second)
    assert await ring.call(ListDeadLetters(limit=2, before=second.id)) == (third,)
    assert await ring.call(ListDeadLetters(limit=2, before=third.id)) == ()


async def test_what_not_every_database_keeps_is_replaced(ring: Ring) -> None:
    letter = await refused(ring, "a\0b\ud800c")
    assert letter.detail.endswith("; a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c")


async def test_an_unknown_letter_is_not_found(ring: Ring) -> None:
    assert isinstance(await ring.refused(RedriveDeadLetter(id=new_id())), NotFound)
