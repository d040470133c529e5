"""Commands of whoever operates it: migrate, config show, version."""

from __future__ import annotations

import click

from aiki.cli.options import Options, common


@click.command()
@common
def migrate(options: Options) -> None:
    """Make a database, or update its schema."""
    from aiki.cli.schema import bring_up_to_date
    from aiki.redaction import without_password

    before, after, steps = bring_up_to_date(options.settings.url)
    if options.as_json:
        applied = [{"version": step.version, "name": step.name} for step in steps]
        return options.output.document(
            {
                "url": without_password(options.settings.url),
                "before": before,
                "schema": after,
                "applied": applied,
            }
        )
    options.output.line("schema", str(after))
    for step in steps:
        options.output.line("applied", f"{step.version:04}", step.name)
    if not steps:
        options.output.line("applied", "nothing: the schema is up to date")


config = click.Group("config", help="Look at the settings.")


@config.command("show")
@common
def show_config(options: Options) -> None:
    """Show every setting, its value, and where the value came from."""
    import msgspec

    from aiki.configuration import public, shown

    values = msgspec.structs.asdict(options.settings)
    sources = options.loaded.sources
    if options.as_json:
        return options.output.document(
            {
                name: {"value": public(name, value), "source": sources[name]}
                for name, value in values.items()
            }
        )
    rows = [(name, shown(name, value), sources[name]) for name, value in values.items()]
    options.output.table(("setting", "value", "from"), rows, empty="no settings")


@click.command()
@common
def version(options: Options) -> None:
    """Show the versions of all parts."""
    import platform
    import sqlite3

    import aiki
    from aiki.cli.schema import newest

    versions = {
        "aiki": aiki.__version__,
        "schema": str(newest()),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    if options.as_json:
        options.output.document(versions)
    else:
        options.output.pairs(versions.items())
