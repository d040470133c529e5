"""Commands that read runs: list, show, history, watch."""

from __future__ import annotations

import click

from aiki.cli.options import Options, common


@click.command("list")
@click.option("--status", metavar="STATUS", multiple=True, help="May be given several times.")
@click.option("--workflow", metavar="NAME")
@click.option("--version", metavar="VERSION")
@click.option("--reference", metavar="TEXT", help="The reference id of the start.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", metavar="ID", help="Where the page before ended.")
@common
def list_runs(
    options: Options, *, status: tuple[str, ...], workflow: str | None, version: str | None,
    reference: str | None, limit: int, cursor: str | None,
) -> None:  # fmt: skip
    """List runs, newest first."""
    from aiki.cli.reports import RUN_COLUMNS, run_rows
    from aiki.operations.runs import ListRuns, RunQuery

    query = RunQuery(
        workflow=workflow, version=version, status=_statuses(status), reference_id=reference
    )
    page = options.ask(ListRuns(query=query, limit=limit, cursor=cursor))
    if options.as_json:
        return options.output.document(page)
    options.output.table(RUN_COLUMNS, run_rows(page.runs), empty="no runs")
    if page.next_cursor is not None:
        click.echo(f"more: --cursor {page.next_cursor}", err=True)


def _statuses(chosen: tuple[str, ...]) -> tuple[str, ...]:
    from typing import get_args

    from aiki.configuration import closest
    from aiki.model.run import STATUSES, PublicStatus

    known = dict.fromkeys((*get_args(PublicStatus), *STATUSES))
    for status in chosen:
        if status not in known:
            near = closest(status, known)
            fix = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
            raise click.BadParameter(f"no status {status!r}; {fix}", param_hint="'--status'")
    return chosen


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
@click.argument("id")
@common
def watch(options: Options, id: str) -> int:
    """Follow a run to its end.

    Exits with 0 if the run completed, with 1 otherwise.
    """
    from aiki.cli.session import resolve
    from aiki.cli.watching import follow
    from aiki.client.client import Client

    async def work(client: Client) -> int:
        return await follow(client, await resolve(client, id), options.output)

    return options.work(work)
