"""What a database keeps, in the shape of the oracle's snapshot."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.differential.records import ENDED
from tests.differential.stores import Look

Kept = dict[str, Any]


def snapshot(look: Look) -> Kept:
    """Every run with all that belongs to it, and what is kept beside runs."""
    found = _runs(look)
    for run_id, status, reason in look.rows(
        "SELECT run_id, status, reason FROM transition ORDER BY run_id, revision"
    ):
        found[run_id]["history"].append((status, reason))
    _add_memo(look, found)
    for run_id, ready_at, alone in look.rows("SELECT run_id, ready_at, alone FROM outbox"):
        found[run_id]["ready"] = (ready_at, bool(alone))
    for run_id, kind, value in look.rows(
        "SELECT run_id, kind, value FROM run_payload WHERE kind <> 'input'"
    ):
        what = kind if kind == "output" else msgspec.json.decode(value)["kind"]
        found[run_id]["result"] = what
    return found | _beside(look)


def _runs(look: Look) -> Kept:
    found: Kept = {}
    for row in look.rows(
        "SELECT id, status, attempt, epoch, holder, losses, alone_losses, pause_requested,"
        " stop_cause, stop_delivered, retry_pending, due_at, deadline_at, grace_until, ended_at"
        " FROM run"
    ):
        flags = [bool(value) for value in (row[7], row[9], row[10])]
        state = (*row[1:7], flags[0], row[8], flags[1], flags[2], *row[11:])
        parked = row[1] in ("waiting", "paused", *ENDED)
        found[row[0]] = {
            "state": state, "history": [], "waits": [] if parked else None, "inbox": [],
            "entries": [], "tasks": {}, "children": {}, "ready": None, "result": None,
        }  # fmt: skip
    return found


def _add_memo(look: Look, found: Kept) -> None:
    for run_id, *wait in look.rows("SELECT run_id, kind, name, due_at FROM wait"):
        if found[run_id]["waits"] is not None:
            found[run_id]["waits"] = sorted([*found[run_id]["waits"], tuple(wait)], key=str)
    for run_id, *fact in look.rows(
        "SELECT run_id, at, kind, name FROM fact WHERE consumed_by IS NULL"
    ):
        found[run_id]["inbox"] = sorted([*found[run_id]["inbox"], tuple(fact)])
    for run_id, *numbers in look.rows(
        "SELECT run_id, attempt, number FROM entry ORDER BY attempt, number"
    ):
        found[run_id]["entries"].append(tuple(numbers))
    for run_id, number, name, status in look.rows(
        "SELECT run_id, attempt, name, status FROM task_attempt"
    ):
        found[run_id]["tasks"][number, name] = status
    for parent, number, key, child in look.rows(
        "SELECT parent_id, parent_attempt, key, child_id FROM child"
    ):
        found[parent]["children"][number, key] = child


def _beside(look: Look) -> Kept:
    letters = look.rows("SELECT run_id FROM dead_letter")
    workers = look.rows(
        "SELECT incarnation, status, lease_until, seen_at, presence, suspect_since FROM worker"
    )
    namespaces = look.rows("SELECT retention_ms FROM namespace WHERE name = 'default'")
    return {
        "dead letters": sorted(run_id for (run_id,) in letters),
        "workers": {name: tuple(rest) for name, *rest in workers},
        "answers": {row[0] for row in look.rows("SELECT command_id FROM answer")},
        "retention": namespaces[0][0] if namespaces else None,
    }


def differences(kept: Kept, wanted: Kept) -> list[str]:
    """Where they differ, one line for each thing."""
    found = [f"{name}: in one only" for name in kept.keys() ^ wanted.keys()]
    for name in kept.keys() & wanted.keys():
        ours, theirs = kept[name], wanted[name]
        if not isinstance(ours, dict) or not isinstance(theirs, dict):
            ours, theirs = {"": ours}, {"": theirs}
        found += [
            f"{name} {what}: {ours.get(what)} is not {theirs.get(what)}"
            for what in ours.keys() | theirs.keys()
            if ours.get(what) != theirs.get(what)
        ]
    return found
