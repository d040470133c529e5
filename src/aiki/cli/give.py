"""Commands that bring something: start a run, send an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from aiki.cli.options import Options, common

if TYPE_CHECKING:
    from aiki.client.client import Client
    from aiki.model.worker import WorkflowSpec
    from aiki.operations.runs import Started


@click.command()
@click.argument("workflow")
@click.argument("version")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option("--reference-id", metavar="TEXT", help="Unique for the workflow: starts once.")
@click.option("--unseen", is_flag=True, help="Start a workflow that no worker has offered yet.")
@common
def start(
    options: Options,
    *,
    workflow: str,
    version: str,
    arguments: str,
    reference_id: str | None,
    unseen: bool,
) -> None:
    """Start a run.

    JSON is an object of the workflow's arguments by name.
    """
    from aiki.ids import new_id
    from aiki.operations.runs import StartRun, StartRuns
    from aiki.workflow import canonical

    given: dict[str, Any] = _json(arguments, "JSON")
    if type(given) is not dict:
        raise click.BadParameter(
            f"{arguments}: the arguments are an object by name, such as '{{\"n\": 3}}'",
            param_hint="'JSON'",
        )
    one = StartRun(
        id=new_id(),
        workflow=workflow,
        version=version,
        reference_id=reference_id,
        input=canonical.encode(given, "arguments"),
    )

    async def work(client: Client) -> Started:
        if not unseen:
            await _check_known(client, workflow, version, given)
        return (await client.call(StartRuns(starts=(one,))))[0]

    started = options.work(work)
    if options.as_json:
        options.output.document(started)
    else:
        options.output.line(started.id)


async def _check_known(client: Client, name: str, version: str, given: dict[str, Any]) -> None:
    """A run that nobody can execute would wait in silence; say so before it is started."""
    from aiki.operations.catalog import ListWorkflows

    specs = [each.spec for each in await client.call(ListWorkflows())]
    for spec in specs:
        if (spec.name, spec.version) == (name, version):
            return _check_arguments(spec, given)
    raise _unknown(name, version, specs)


def _unknown(name: str, version: str, specs: Sequence[WorkflowSpec]) -> Exception:
    from aiki.configuration import closest
    from aiki.errors import NotFound

    versions = [spec.version for spec in specs if spec.name == name]
    if versions:
        fix = f"there are: {', '.join(versions)}"
    else:
        near = closest(name, {spec.name for spec in specs})
        fix = f"did you mean {near}?" if near else "`aiki workflows` shows those that are known"
    return NotFound(
        f"no worker has offered workflow {name} {version}; {fix}; "
        "--unseen starts it all the same, for a worker to come"
    )


def _check_arguments(spec: WorkflowSpec, given: dict[str, Any]) -> None:
    from aiki.errors import InvalidRequest

    properties = spec.input_schema.get("properties", {})
    required = spec.input_schema.get("required", ())
    closed = spec.input_schema.get("additionalProperties") is False
    missing = [name for name in required if name not in given]
    surplus = [name for name in given if name not in properties] if closed else []
    if not missing and not surplus:
        return
    taken = ", ".join(
        f"{name} ({_kind(schema)})" if name in required else f"{name} ({_kind(schema)}, optional)"
        for name, schema in properties.items()
    )
    what = f"lacks {', '.join(missing)}" if missing else f"has no argument {', '.join(surplus)}"
    raise InvalidRequest(
        f"the call of {spec.name} {spec.version} {what}; it takes {taken or 'no arguments'}"
    )


def _kind(schema: dict[str, Any]) -> str:
    kind: object = schema.get("type") or schema.get("$ref", "").rpartition("/")[2] or "any"
    return str(kind)


@click.command()
@click.argument("id")
@click.argument("event")
@click.argument("data", metavar="[JSON]", default="null")
@click.option("--key", metavar="TEXT", help="The same key is the same event: safe to repeat.")
@common
def send(options: Options, id: str, event: str, data: str, key: str | None) -> None:
    """Send a run an event, kept until the run takes it."""
    from aiki.ids import new_id
    from aiki.operations.runs import SendEvent
    from aiki.workflow import canonical

    value = canonical.encode(_json(data, "JSON"), f"event {event}")
    event_id = new_id()
    sent = options.ask_run(
        id, lambda run: SendEvent(id=event_id, run_id=run, name=event, value=value, key=key)
    )
    if options.as_json:
        options.output.document({"id": sent, "name": event})
    else:
        options.output.line(sent)


def _json(text: str, what: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter(
            f"{text[:80]!r} is no JSON ({error}); texts take double quotes inside single "
            "ones: '\"text\"'",
            param_hint=f"'{what}'",
        ) from None
