"""Commands that list what the server knows besides runs."""

from __future__ import annotations

import click

from aiki.cli.options import Options, common


@click.command()
@common
def workflows(options: Options) -> None:
    """List the workflows that workers offered."""
    from aiki.cli.output import time
    from aiki.operations.catalog import ListWorkflows

    found = options.ask(ListWorkflows())
    if options.as_json:
        return options.output.document(found)
    rows = [
        (
            each.spec.name,
            each.spec.version,
            ", ".join(each.spec.events),
            each.spec.fingerprint,
            time(each.first_seen_at),
            time(each.last_seen_at),
        )
        for each in found
    ]
    columns = ("workflow", "version", "events", "fingerprint", "first seen", "last seen")
    options.output.table(columns, rows, empty="no workflow was offered yet: aiki dev app.py")


@click.command()
@common
def workers(options: Options) -> None:
    """List the workers, alive ones first."""
    from aiki.cli.output import duration, time
    from aiki.operations.catalog import ListWorkers

    found = options.ask(ListWorkers())
    if options.as_json:
        return options.output.document(found)
    rows = [
        (
            each.name,
            each.status,
            str(each.running),
            ", ".join(each.stuck),
            time(each.seen_at),
            duration(each.lease_ms),
            each.incarnation,
        )
        for each in found
    ]
    columns = ("worker", "status", "running", "stuck", "seen", "lease", "incarnation")
    options.output.table(columns, rows, empty="no worker has been here: aiki dev app.py")


@click.command()
@common
def backlog(options: Options) -> None:
    """Show how many runs wait for workers, and for how long."""
    from aiki.cli.output import duration
    from aiki.operations.catalog import GetBacklog

    found = options.ask(GetBacklog())
    if options.as_json:
        return options.output.document(found)
    rows = [
        (each.workflow, each.version, each.shard, str(each.ready), duration(each.oldest_ms))
        for each in found
    ]
    columns = ("workflow", "version", "shard", "ready", "oldest")
    options.output.table(columns, rows, empty="no run waits for a worker")


@click.command("dead-letters")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--before", metavar="ID", help="For the next page: the last letter of this one.")
@common
def dead_letters(options: Options, limit: int, before: str | None) -> None:
    """List what could not be delivered, newest first."""
    from aiki.cli.output import time
    from aiki.operations.catalog import ListDeadLetters

    found = options.ask(ListDeadLetters(limit=limit, before=before))
    if options.as_json:
        return options.output.document(found)
    rows = [(time(each.at), each.run_id or "", each.reason, each.id, each.detail) for each in found]
    columns = ("at", "run", "reason", "letter", "detail")
    options.output.table(columns, rows, empty="no dead letters")


@click.command()
@click.argument("id")
@common
def redrive(options: Options, id: str) -> None:
    """Deliver a dead letter again: its run starts anew, or is announced anew."""
    from aiki.ids import new_id
    from aiki.operations.catalog import RedriveDeadLetter

    found = options.ask(RedriveDeadLetter(id=id, command_id=new_id()))
    if options.as_json:
        return options.output.document(found)
    options.output.line(found.run_id, found.verdict)
