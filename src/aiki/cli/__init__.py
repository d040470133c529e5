"""The command line: `aiki`, for people at a terminal and for scripts in a pipe."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit code: 0, 1 for errors, 2 for usage, 130 interrupted."""
    from aiki.cli.root import run

    return run(arguments)
