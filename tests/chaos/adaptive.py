"""A worker that polls adaptively, which the command line has no word for.

Run as `python -m tests.chaos.adaptive --url URL --lease-ms MS [--shards NAME]`; it works until
killed.
"""

from __future__ import annotations

import argparse
import asyncio

import aiki
from tests.chaos.trees import WORKFLOWS


async def work(url: str, lease_ms: int, shards: list[str]) -> None:
    """Work until killed."""
    async with aiki.connect(url) as client:
        worker = aiki.Worker(
            client,
            workflows=WORKFLOWS,
            lease_ms=lease_ms,
            shards=shards,
            subscriber=aiki.AdaptivePolling(),
        )
        print("ready", flush=True)
        await worker.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.adaptive", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--lease-ms", type=int, required=True)
    parser.add_argument("--shards", action="append", default=[])
    chosen = parser.parse_args()
    asyncio.run(work(chosen.url, chosen.lease_ms, chosen.shards))
