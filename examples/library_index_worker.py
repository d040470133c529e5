"""The worker of the library index, as a process of its own: it ends with its standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import warnings

import aiki
from examples.library_index import WORKFLOWS


async def main(url: str, queue: str | None = None) -> None:
    """Work until SIGTERM, or until whoever started it is gone."""
    subscriber = aiki.RedisStreams(queue) if queue else None
    async with aiki.connect(url) as client:
        worker = asyncio.create_task(
            aiki.Worker(client, workflows=WORKFLOWS, subscriber=subscriber).run()
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.cancel)

        def follow_parent() -> None:
            while os.read(sys.stdin.fileno(), 1024):
                pass
            loop.call_soon_threadsafe(worker.cancel)

        threading.Thread(target=follow_parent, daemon=True).start()
        try:
            await worker
        except asyncio.CancelledError:
            return


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the files that are parsed have warnings of their own
    asyncio.run(main(*sys.argv[1:]))
