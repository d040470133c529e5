"""Loading: the memo of a claimed run, fetched a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aiki.operations.work import ClaimedRun, LoadMemo, Memo

if TYPE_CHECKING:
    from aiki.client.client import Client


async def load_whole(claim: ClaimedRun, client: Client) -> tuple[ClaimedRun, Memo]:
    """The claim with its input and its latest inbox, and the whole memo; raises `ClaimLost`."""
    loaded = claim
    if claim.memo is None:
        loaded = await client.call(LoadMemo(run_id=claim.id, epoch=claim.epoch))
        loaded = msgspec.structs.replace(loaded, rested=claim.rested)
    memo = loaded.memo or Memo()
    entries = list(memo.entries)
    following = memo.next_number
    while following is not None:
        page = await client.call(
            LoadMemo(run_id=claim.id, epoch=claim.epoch, from_number=following)
        )
        assert page.memo is not None
        loaded = msgspec.structs.replace(loaded, inbox=page.inbox)
        entries += page.memo.entries
        following = page.memo.next_number
    return loaded, Memo(tuple(entries), memo.attempts, memo.children, memo.decisions)
