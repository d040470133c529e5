"""A server, a worker or a client in a process of its own, of this version or an older one.

Run as `python -m tests.versions.peer AGE server DATABASE`, `... AGE worker URL` or
`... AGE client URL`, where AGE is `new` or `old`. The server prints its two URLs, the worker that
it is ready, and the client what became of its run.
"""

from __future__ import annotations

import asyncio
import sys


async def serve(database: str) -> None:
    """Answer over HTTP and gRPC until killed."""
    from aiki.compose import store_for
    from aiki.engine.engine import Engine, EngineSettings
    from aiki.server.grpc.server import GrpcServer
    from aiki.server.grpc.settings import GrpcSettings
    from aiki.server.serving import Server
    from aiki.server.settings import ServerSettings

    engine = Engine(store_for(database), EngineSettings(daemons=True))
    await engine.start()
    rest = Server(engine, ServerSettings(port=0))
    await rest.start()
    grpc = GrpcServer(engine, GrpcSettings(port=0))
    await grpc.start()
    print(rest.url, f"grpc://{grpc.address}", flush=True)
    await asyncio.Event().wait()


async def work(url: str) -> None:
    """Work until killed."""
    import aiki
    from tests.versions.errands import errand, leg

    async with aiki.connect(url) as client:
        print("ready", flush=True)
        await aiki.Worker(client, workflows=[errand, leg], lease_ms=2_000).run()


async def ask(url: str) -> None:
    """Start a run, send it an event, and wait for its end."""
    import aiki
    from aiki.operations.runs import ListRuns, RunQuery
    from tests.versions.errands import errand, go

    async with aiki.connect(url) as client:
        handle = await errand.enqueue(client, 3)
        await handle.send(go, 4)
        result = await handle.result()
        page = await client.call(ListRuns(query=RunQuery(status=("completed",))))
        print(result, len(page.runs), aiki.__version__, flush=True)


def main() -> None:
    """Become what the command line says."""
    age, role, address = sys.argv[1:]
    if age == "old":
        from tests.versions.older import become_older

        become_older()
    asyncio.run({"server": serve, "worker": work, "client": ask}[role](address))


if __name__ == "__main__":
    main()
