"""`aiki dev`: a server and a worker in one process, started again when the code changes."""

from __future__ import annotations

import click

from aiki.cli.options import Options, common


@click.command()
@click.argument("app")
@click.option("--reload/--no-reload", default=True, help="Start again on change [--reload].")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error [info].")
@click.option("--max-concurrent-runs", metavar="N", help="Runs executed at a time [100].")
@click.option(
    "--graceful-shutdown-timeout-ms", metavar="MS", help="Longest drain of a stop [5000]."
)
@click.option("--parent", type=int, hidden=True)
@common
def dev(
    options: Options, *, app: str, reload: bool, log_level: str | None,
    max_concurrent_runs: str | None, graceful_shutdown_timeout_ms: str | None, parent: int | None,
) -> int:  # fmt: skip
    """Run an application's workflows.

    APP is app.py, app.py:name or package.module:name.

    The first SIGTERM or SIGINT stops claiming and drains; a second one ends it at once.
    """
    options.flags |= {
        "log_level": log_level,
        "max_concurrent_runs": max_concurrent_runs,
        "graceful_shutdown_timeout_ms": graceful_shutdown_timeout_ms,
    }
    from aiki.cli.application import Application

    application = Application.named(app)
    settings = options.settings
    if reload:
        from aiki.cli.reload import supervise

        return supervise(application, _child_arguments(options, app), settings)
    from aiki.cli.working import work

    return work(application, settings, options.output, parent)


def _child_arguments(options: Options, app: str) -> list[str]:
    arguments = ["dev", app, "--no-reload"]
    for name, value in options.flags.items():
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    if options.config:
        arguments += ["--config", options.config]
    return [*arguments, "--json"] if options.as_json else arguments
