"""`aiki worker`: executes an application's workflows for a server, embedded or elsewhere."""

from __future__ import annotations

import click

from aiki.cli.options import Options, common


@click.command()
@click.argument("app")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error [info].")
@click.option("--shards", metavar="NAME,NAME", help="Only runs of these shards [runs without one].")
@click.option("--queue", metavar="URL", help="Broker that announces ready runs [none: polls].")
@click.option("--max-concurrent-runs", metavar="N", help="Runs executed at a time [100].")
@click.option("--max-resident-runs", metavar="N", help="Parked runs kept in memory [1000].")
@click.option("--task-threads", metavar="N", help="Threads for tasks without async [32].")
@click.option("--lease-ms", metavar="MS", help="A claim outlives the last heartbeat [30000].")
@click.option(
    "--graceful-shutdown-timeout-ms", metavar="MS", help="Longest drain of a stop [5000]."
)
@common
def worker(options: Options, /, *, app: str, **flags: str | None) -> int:
    """Execute an application's workflows.

    APP is app.py, app.py:name or package.module:name. --url says for which server.

    The first SIGTERM or SIGINT stops claiming and drains; a second one ends it at once.
    """
    options.flags |= flags
    from aiki.cli.application import Application
    from aiki.cli.working import work

    return work(Application.named(app), options.settings, options.output, None)
