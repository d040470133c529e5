"""Commands that read runs: list, show, history, watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aiki.cli.filters import filtered, statuses
from aiki.cli.options import Options, common

if TYPE_CHECKING:
    from aiki.operations.runs import Order, RunQuery


@click.command("list")
@filtered
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    default="newest",
    show_default=True,
    help="Which come first.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", metavar="ID", help="Where the page before ended.")
@common
def list_runs(
    options: Options, *, query: RunQuery, order: Order, limit: int, cursor: str | None
) -> None:
    """List runs, newest first."""
    from aiki.cli.reports import RUN_COLUMNS, run_rows
    from aiki.operations.runs import ListRuns

    page = options.ask(ListRuns(query=query, order=order, limit=limit, cursor=cursor))
    if options.as_json:
        return options.output.document(page)
    options.output.table(RUN_COLUMNS, run_rows(page.runs), empty="no runs")
    if page.next_cursor is not None:
        click.echo(f"more: --cursor {page.next_cursor}", err=True)


@click.command()
@click.argument("id")
@common
def show(options: Options, id: str) -> None:
    """Show a run, with its output or why it failed."""
    from aiki.cli.reports import details
    from aiki.operations.runs import GetRun

    result = options.ask_run(id, lambda run: GetRun(id=run))
    if options.as_json:
        options.output.document(result)
    else:
        options.output.pairs(details(result))


@click.command()
@click.argument("id")
@common
def history(options: Options, id: str) -> None:
    """Show everything that is recorded of a run."""
    from aiki.cli.reports import HISTORY_COLUMNS, divergence_lines, history_rows
    from aiki.operations.runs import GetHistory

    found = options.ask_run(id, lambda run: GetHistory(id=run))
    if options.as_json:
        return options.output.document(found)
    options.output.table(HISTORY_COLUMNS, history_rows(found), empty="nothing is recorded")
    if found.divergence is not None:
        for line in divergence_lines(found.divergence):
            options.output.line("diverged", line)


@click.command()
@click.argument("id", required=False)
@click.option("--all", "everything", is_flag=True, help="Every run of the namespace, from now on.")
@click.option("--workflow", metavar="NAME", help="With --all: only runs of this workflow.")
@click.option("--status", metavar="STATUS", multiple=True, help="With --all: only these.")
@common
def watch(
    options: Options, *, id: str | None, everything: bool, workflow: str | None,
    status: tuple[str, ...],
) -> int:  # fmt: skip
    """Follow a run to its end, or all of them until it is interrupted.

    Exits with 0 if the run completed, with 1 otherwise.
    """
    from aiki.cli.session import resolve
    from aiki.cli.watching import follow, follow_all
    from aiki.client.client import Client

    if (id is None) is not everything or (id is not None and (workflow or status)):
        raise click.UsageError("name one run by its id, or all by --all with its filters.")
    wanted = statuses(status)

    async def work(client: Client) -> int:
        if id is None:
            return await follow_all(client, workflow, frozenset(wanted), options.output)
        return await follow(client, await resolve(client, id), options.output)

    return options.work(work, patient=True)
