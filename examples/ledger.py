"""A ledger of executions, kept outside Aiki: one line whenever the body of a task begins.

Aiki records results; this file knows nothing of them. Comparing both shows what was executed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import aiki

VARIABLE = "LIBRARY_INDEX_LEDGER"


class Execution(NamedTuple):
    """One line: a task's body began."""

    key: str
    """Aiki's idempotency key: the same for every execution of one call."""
    task: str
    subject: str
    """What it was about, such as a file."""


def note(subject: str = "") -> None:
    """Write a line for the task that runs here; nothing without the environment variable."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    task = aiki.task_context()
    line = f"{task.idempotency_key}\t{task.task}\t{subject}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, os.fsencode(line))
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Execution]:
    """All executions so far, in the order in which they began."""
    if not path.exists():
        return []
    text = os.fsdecode(path.read_bytes())
    return [Execution(*line.split("\t")) for line in text.split("\n")[:-1]]


class Snapshot(NamedTuple):
    """What stood where right after the worker's process was killed."""

    recorded: frozenset[str]
    """Idempotency keys of the tasks whose results were on record."""
    executions: int
    """Lines of the ledger: whatever follows was executed after the kill."""


def repeated(snapshot: Snapshot, executions: list[Execution]) -> list[Execution]:
    """Executions after the kill of tasks that were on record at the kill: there must be none."""
    return [e for e in executions[snapshot.executions :] if e.key in snapshot.recorded]


def objections(
    snapshots: list[Snapshot],
    executions: list[Execution],
    recorded: frozenset[str],
    files: Iterable[str],
) -> list[str]:
    """What speaks against the claim that no recorded task ran again; empty when it is proved.

    `recorded` holds the keys on record at the end, `files` what had to be parsed.
    """
    found: list[str] = []
    for number, snapshot in enumerate(snapshots, 1):
        if not snapshot.recorded:
            found.append(f"kill {number}: nothing was on record, so it shows nothing")
        found.extend(
            f"kill {number}: {again.task} {again.subject} was recorded and ran again"
            for again in repeated(snapshot, executions)
        )
        lost = snapshot.recorded - recorded
        if lost:
            found.append(f"kill {number}: {len(lost)} recorded results are gone")
    executed = {execution.key for execution in executions}
    if recorded - executed:
        found.append(f"{len(recorded - executed)} results are on record that nobody computed")
    parsed = {e.subject: e.key for e in executions if e.task == "parse_file"}
    for file in files:
        if file not in parsed:
            found.append(f"{file} was never parsed")
        elif parsed[file] not in recorded:
            found.append(f"{file} was parsed, and its result is not on record")
    return found
