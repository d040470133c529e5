"""Commands of a namespace: what is chosen for it, and how long its ended runs are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aiki.cli.filters import span_ms
from aiki.cli.options import Options, common

if TYPE_CHECKING:
    from aiki.operations.catalog import Namespace

namespace = click.Group("namespace", help="Look at a namespace, and choose its retention.")
_FOR_EVER, _DEFAULT = "forever", "default"


@namespace.command("show")
@common
def show_namespace(options: Options) -> None:
    """Show what is chosen for the namespace."""
    from aiki.operations.catalog import GetNamespace

    _answer(options, options.ask(GetNamespace()))


@namespace.command("retention")
@click.argument("span")
@common
def set_retention(options: Options, *, span: str) -> None:
    """Choose how long ended runs are kept.

    SPAN is a time such as 30d or 12h; forever; or default, the server's own.
    """
    from aiki.ids import new_id
    from aiki.operations.catalog import SetRetention

    chosen = {_FOR_EVER: 0, _DEFAULT: None}
    retention_ms = chosen[span] if span in chosen else span_ms(span, "SPAN")
    if span not in chosen and retention_ms == 0:
        raise click.BadParameter("0 would delete at once; forever keeps them", param_hint="'SPAN'")
    asked = SetRetention(retention_ms=retention_ms, command_id=new_id())
    _answer(options, options.ask(asked))


def _answer(options: Options, found: Namespace) -> None:
    from aiki.cli.output import duration

    if options.as_json:
        return options.output.document(found)
    if found.retention_ms is None:
        kept = _DEFAULT
    else:
        kept = duration(found.retention_ms) if found.retention_ms else _FOR_EVER
    options.output.pairs([("namespace", found.name), ("retention", kept)])
