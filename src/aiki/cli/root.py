"""The root of the command line: its groups, and how every error becomes one line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from aiki.cli.bulk import cancel, events, rerun
from aiki.cli.catalog import backlog, dead_letters, redrive, workers, workflows
from aiki.cli.controls import CONTROLS
from aiki.cli.dev import dev
from aiki.cli.doctor import doctor
from aiki.cli.give import send, start
from aiki.cli.namespace import namespace
from aiki.cli.operate import config, migrate, version
from aiki.cli.runs import history, list_runs, show, watch
from aiki.cli.server import server
from aiki.cli.worker import worker
from aiki.errors import AikiError, NotFound

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
_ON_EVERY_COMMAND = ("--url", "--namespace", "--token", "--json", "--config")

aiki = click.Group(
    "aiki",
    help="Workflows that survive crashes. Every command takes --json, --url and --token.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
runs = click.Group("runs", help="List, follow, start, stop and mend runs.")

for _command in (list_runs, show, watch, history, start, send, cancel, rerun, *CONTROLS):
    runs.add_command(_command)
for _command in (
    dev, server, worker, runs, events, workflows, workers, backlog, dead_letters, redrive,
    namespace,
    migrate, doctor, config, version,
):  # fmt: skip
    aiki.add_command(_command)


def run(arguments: Sequence[str] | None) -> int:
    """Run one command; no exception leaves, whatever happens."""
    _tolerate_odd_text()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _invoke(words)
        sys.stdout.flush()
    except BaseException as error:
        return _explain(error)
    return code


def _invoke(words: list[str]) -> int:
    try:
        with aiki.make_context("aiki", words) as context:
            result = aiki.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return result if isinstance(result, int) else OK


def _tolerate_odd_text() -> None:
    """What the terminal's encoding lacks is shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _explain(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError):
        return _leave_quietly()
    if os.environ.get("AIKI_DEBUG") == "1":
        traceback.print_exception(error)
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return MISUSED
        case click.ClickException():
            return _misused(error)
        case KeyboardInterrupt() | click.Abort():
            _say("interrupted")
            return INTERRUPTED
        case SystemExit():
            return error.code if isinstance(error.code, int) else FAILED
        case AikiError():
            _say(f"{error.message}{_hint(error)}")
        case _:
            _say(_unexpected(error))
    return FAILED


def _hint(error: AikiError) -> str:
    if not isinstance(error, NotFound) or "--" in error.message or "`" in error.message:
        return ""
    return "; `aiki runs list` shows what there is, --namespace and --url look elsewhere"


def _unexpected(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    # Named by its module's name: this file must not load a database driver to show help.
    if type(error).__module__ == "sqlite3":
        return f"the database cannot be used: {error}; is it a file that Aiki made?"
    if isinstance(error, OSError):
        return str(error)
    return f"unexpected {text}; AIKI_DEBUG=1 shows where"


def _misused(error: click.ClickException) -> int:
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.option_name in _ON_EVERY_COMMAND:
        message += f" {error.option_name} stands after the command: aiki runs list --json"
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        message += f" Try '{context.command_path} --help'."
    _say(message)
    return error.exit_code if error.exit_code == MISUSED else FAILED


def _say(message: str) -> None:
    try:
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _leave_quietly()


def _leave_quietly() -> int:
    """Nobody reads any more; the interpreter must not complain when it flushes at the end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
    return FAILED
