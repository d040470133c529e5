"""Presence: a streaming request that a worker keeps open, so that its end is noticed at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
from urllib.parse import quote

from aiki.clock import SYSTEM
from aiki.errors import AikiError
from aiki.queue.pacing import Pacing
from aiki.remote.relay import Relay

logger = logging.getLogger("aiki.remote")
_LASTED_SECONDS = 1.0


async def keep_presence(relay: Relay, incarnation: str) -> None:
    """Open the request again whenever it ends, until cancelled.

    One that was held for a while is opened again at once: for a moment after its end the worker is
    only suspected.
    """
    pacing = Pacing(20, 5_000, spread=0.5)
    path = f"/api/v1/workers/{quote(incarnation, safe='')}/presence"
    for number in itertools.count(1):
        begun = SYSTEM.monotonic()
        try:
            await relay.hold(f"{path}?number={number}")
        except AikiError as error:
            logger.debug("no presence at the moment, leases apply: %s", error)
        if SYSTEM.monotonic() - begun > _LASTED_SECONDS:
            pacing.found()
        else:
            pacing.empty()
        await asyncio.sleep(pacing.pause_ms() / 1000)
