"""Commands that tell one run what to do: each one operation, answered by its new state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aiki.cli.options import Options, common

if TYPE_CHECKING:
    from aiki.model.run import RunView


def answer_state(options: Options, run: RunView) -> None:
    """Show what became of the run."""
    if options.as_json:
        options.output.document(run)
    else:
        asked = f"{run.stop_requested} requested" if run.stop_requested else ""
        options.output.table(("run", "status", ""), [(run.id, run.status, asked)], empty="nothing")


@click.command()
@click.argument("id")
@click.option("--reason", default="", help="Recorded with the end.")
@common
def terminate(options: Options, id: str, reason: str) -> None:
    """End a run now, without clean-up."""
    from aiki.ids import new_id
    from aiki.operations.runs import TerminateRun

    command = new_id()
    made = options.ask_run(id, lambda run: TerminateRun(id=run, command_id=command, reason=reason))
    answer_state(options, made)


@click.command()
@click.argument("id")
@common
def pause(options: Options, id: str) -> None:
    """Hold a run.

    A running one goes on to its next park.
    """
    from aiki.operations.runs import PauseRun

    answer_state(options, options.ask_run(id, lambda run: PauseRun(id=run)))


@click.command()
@click.argument("id")
@common
def resume(options: Options, id: str) -> None:
    """Let a paused run go on."""
    from aiki.operations.runs import ResumeRun

    answer_state(options, options.ask_run(id, lambda run: ResumeRun(id=run)))


@click.command()
@click.argument("id")
@click.option("--numbers", metavar="N,N", default="", help="Entries to leave out, by number.")
@common
def waive(options: Options, id: str, numbers: str) -> None:
    """Replay a diverged run without old entries.

    Without --numbers: those that are recorded and that its code left out.
    """
    from aiki.operations.runs import WaiveEntries

    chosen = _numbers(numbers)
    answer_state(options, options.ask_run(id, lambda run: WaiveEntries(id=run, numbers=chosen)))


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(
            f"{text!r}: entries' numbers, 1 upwards, with commas between, such as 3,4; "
            "`aiki runs history ID` shows them",
            param_hint="'--numbers'",
        )
    return tuple(int(part) for part in parts)


@click.command()
@click.argument("id")
@common
def retry(options: Options, id: str) -> None:
    """Offer a diverged run again.

    For code that was mended since.
    """
    from aiki.operations.runs import RetryDiverged

    answer_state(options, options.ask_run(id, lambda run: RetryDiverged(id=run)))


@click.command()
@click.argument("id")
@common
def redeliver(options: Options, id: str) -> None:
    """Offer a stalled run to workers again."""
    from aiki.operations.runs import RedeliverRun

    answer_state(options, options.ask_run(id, lambda run: RedeliverRun(id=run)))


CONTROLS = (terminate, pause, resume, waive, retry, redeliver)
