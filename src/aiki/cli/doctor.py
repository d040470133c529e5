"""The command that examines a database: `aiki doctor`."""

from __future__ import annotations

import click

from aiki.cli.options import Options, common

_BROKEN = 1


@click.command()
@common
@click.pass_context
def doctor(context: click.Context, options: Options) -> None:
    """Check a database for what no crash may leave behind; nothing is changed.

    It needs the database itself, not a server, and may run beside servers. The exit status is 0
    where all is well, and 1 where a law does not hold.
    """
    import asyncio

    from aiki.compose import inspect
    from aiki.store.laws import LAWS

    findings = asyncio.run(inspect(options.settings.url))
    if options.as_json:
        broken = [{"law": finding.law, "rows": finding.rows} for finding in findings]
        options.output.document({"laws": len(LAWS), "broken": broken})
    elif findings:
        rows = [
            (finding.law, ", ".join(str(value) for value in row))
            for finding in findings
            for row in finding.rows
        ]
        options.output.table(("law", "broken by"), rows, empty="")
    else:
        options.output.line("sound", f"{len(LAWS)} laws hold")
    if findings:
        context.exit(_BROKEN)
