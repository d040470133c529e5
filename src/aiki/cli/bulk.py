"""Commands on many at once: runs that a filter chooses, events from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from aiki.cli.controls import answer_state
from aiki.cli.filters import chooses_something, filtered
from aiki.cli.options import Options, common

if TYPE_CHECKING:
    from aiki.operations.bulk import BulkResult, Refused
    from aiki.operations.runs import RunQuery, SendEvent

_LIMIT = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1_000, show_default=True,
    help="Of runs that a filter chooses.",
)  # fmt: skip
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only tell which runs it would be.")
_EVENTS_IN_ONE = 1_000
_MEMBERS = ("run", "event", "data", "key")


@click.command()
@click.argument("id", required=False)
@click.option("--reason", default="", help="Recorded with the request.")
@_DRY_RUN
@_LIMIT
@filtered
@common
def cancel(
    options: Options, *, id: str | None, reason: str, dry_run: bool, limit: int, query: RunQuery
) -> int:
    """Ask a run to stop, or every run that the filters choose.

    A run may clean up. A second request for the same run ends it at once.
    """
    from aiki.ids import new_id
    from aiki.operations.bulk import CancelRuns
    from aiki.operations.runs import CancelRun

    command = new_id()
    if _is_one(id, query, dry_run):
        answer_state(
            options,
            options.ask_run(
                str(id), lambda run: CancelRun(id=run, command_id=command, reason=reason)
            ),
        )
        return 0
    asked = CancelRuns(command_id=command, query=query, reason=reason, limit=limit, dry_run=dry_run)
    return _answer(options, options.ask(asked), "cancel" if dry_run else "cancel requested")


@click.command()
@click.argument("id", required=False)
@_DRY_RUN
@_LIMIT
@filtered
@common
def rerun(options: Options, *, id: str | None, dry_run: bool, limit: int, query: RunQuery) -> int:
    """Start a new run like one that has ended, or like each that the filters choose."""
    from aiki.ids import new_id
    from aiki.operations.bulk import RerunRun, RerunRuns

    command = new_id()
    if _is_one(id, query, dry_run):
        started = options.ask_run(str(id), lambda run: RerunRun(id=run, command_id=command))
        if options.as_json:
            options.output.document(started)
        else:
            options.output.line(started.id)
        return 0
    asked = RerunRuns(command_id=command, query=query, limit=limit, dry_run=dry_run)
    return _answer(options, options.ask(asked), "rerun" if dry_run else "started")


def _is_one(id: str | None, query: RunQuery, dry_run: bool) -> bool:
    """Whether one run is meant; nothing at all must not mean every run."""
    if id is None and not chooses_something(query):
        raise click.UsageError(
            "name a run by its id, or choose runs by --workflow, --status and other filters."
        )
    if id is not None and (chooses_something(query) or dry_run):
        raise click.UsageError("an id stands alone; filters and --dry-run are for many runs.")
    return id is not None


def _answer(options: Options, result: BulkResult, what: str) -> int:
    if options.as_json:
        options.output.document(result)
    else:
        rows = [(run, what, "") for run in result.done] + _refusals(result.refused)
        options.output.table(("run", "", ""), rows, empty="no run matches")
    if result.more:
        click.echo("more: there are more than --limit; call it again", err=True)
    return 1 if result.refused else 0


def _refusals(refused: Sequence[Refused]) -> list[tuple[str, str, str]]:
    return [(each.id, "refused", each.message) for each in refused]


events = click.Group("events", help="Send many events.")


@events.command("send")
@click.argument("file", type=click.File("rb"))
@common
def send_events(options: Options, *, file: Iterable[bytes]) -> int:
    """Send the events of a file, or of - for what is piped in.

    Each line is a JSON object: {"run": ID, "event": NAME, "data": ANY, "key": TEXT}. Without data
    it is null; the same key is the same event, so that a file with keys is safe to send again.
    """
    from aiki.client.client import Client
    from aiki.operations.bulk import SendEvents, SentEvents

    made = list(_events(file))

    async def work(client: Client) -> SentEvents:
        ids: list[str] = []
        refused: list[Refused] = []
        for begin in range(0, len(made), _EVENTS_IN_ONE):
            part = tuple(made[begin : begin + _EVENTS_IN_ONE])
            sent = await client.call(SendEvents(events=part))
            ids += sent.ids
            refused += sent.refused
        return SentEvents(tuple(ids), tuple(refused))

    sent = options.work(work)
    if options.as_json:
        options.output.document(sent)
    else:
        options.output.line("sent", str(len(sent.ids)))
        runs = {each.id: each.run_id for each in made}
        for each in sent.refused:
            options.output.line("refused", runs.get(each.id, each.id), each.message)
    return 1 if sent.refused else 0


def _events(lines: Iterable[bytes]) -> Iterator[SendEvent]:
    """Every line is understood before the first event is sent."""
    from aiki.ids import new_id
    from aiki.operations.runs import SendEvent
    from aiki.workflow import canonical

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        given = _object(line, number)
        name = given["event"]
        value = canonical.encode(given.get("data"), f"event {name}")
        yield SendEvent(
            id=new_id(), run_id=given["run"], name=name, value=value, key=given.get("key")
        )


def _object(line: bytes, number: int) -> dict[str, Any]:
    import msgspec

    from aiki.errors import InvalidRequest

    try:
        given = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"line {number} is no JSON object ({error})") from None
    strange = [name for name in given if name not in _MEMBERS]
    if strange:
        raise InvalidRequest(
            f"line {number} has a member {strange[0]!r}; there are: {', '.join(_MEMBERS)}"
        )
    for name in ("run", "event"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise InvalidRequest(f"line {number} lacks {name!r}, which is a text")
    if not isinstance(given.get("key"), str | None):
        raise InvalidRequest(f"line {number}: 'key' is a text")
    return given
