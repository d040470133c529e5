"""Commands that change something, each in plain lines and in JSON."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call, Runs


def test_pause_and_resume(call: Call, runs: Runs) -> None:
    assert call("runs", "pause", runs.waiting).rows[0][:2] == [runs.waiting, "paused"]
    resumed = call("runs", "resume", runs.waiting, "--json").json
    assert resumed["status"] in ("queued", "awaiting_event")


def test_cancel_and_terminate(call: Call, runs: Runs) -> None:
    assert call("runs", "cancel", runs.waiting, "--reason", "late").rows[0][2] == "cancel requested"
    assert call("runs", "terminate", runs.waiting, "--reason", "now", "--json").json["status"] == (
        "cancelled"
    )
    assert "now" in call("runs", "show", runs.waiting).out


@pytest.mark.parametrize(
    ("command", "run"),
    [
        (["waive"], "diverged"),
        (["waive", "--numbers", "1, 2"], "diverged"),
        (["retry"], "diverged"),
        (["redeliver"], "stalled"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_mending(call: Call, runs: Runs, command: list[str], run: str, form: list[str]) -> None:
    answer = call("runs", *command, getattr(runs, run), *form)
    status: Any = answer.json["status"] if form else answer.rows[0][1]
    assert (answer.code, status) == (0, "queued")


def test_send_is_safe_to_repeat_with_a_key(call: Call, runs: Runs) -> None:
    first = call("runs", "send", runs.waiting, "go", "5", "--key", "one").out
    assert call("runs", "send", runs.waiting, "go", "5", "--key", "one").out == first
    assert call("runs", "send", runs.waiting, "go", "7", "--json").json["name"] == "go"
    facts = call("runs", "history", runs.waiting, "--json").json["facts"]
    assert [fact["value"] for fact in facts] == [5, 7]


def test_start(call: Call, runs: Runs) -> None:
    started = call("runs", "start", "quick", "1.0.0", '{"n": 3}').out.strip()
    assert dict(call("runs", "show", started).rows)["status"] == "queued"
    document = call("runs", "start", "waiting", "1.0.0", "--json", "--reference-id", "r").json
    assert document["created"]
    assert call("runs", "start", "later", "2.0", "--unseen").code == 0


def test_migrate(call: Call) -> None:
    made = call("migrate", "--url", "sqlite:///new.db", "--json").json
    assert made["before"] == 0
    assert [step["version"] for step in made["applied"]] == list(range(1, made["schema"] + 1))
    again = call("migrate", "--url", "sqlite:///new.db")
    assert again.rows == [
        ["schema", str(made["schema"])],
        ["applied", "nothing: the schema is up to date"],
    ]
    assert call("runs", "list", "--url", "sqlite:///new.db") == (0, "", "")


def test_doctor_finds_a_sound_database_sound(call: Call, runs: Runs) -> None:
    assert call("doctor").code == 0
    assert call("doctor", "--json").json["broken"] == []


def test_doctor_names_the_law_that_is_broken(call: Call, runs: Runs, place: Path) -> None:
    (database,) = place.glob("*.db")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE run SET ended_at = NULL WHERE id = ?", (runs.completed,))
        connection.commit()
    told = call("doctor")
    assert told.code == 1
    assert ["an end is on record", runs.completed] in told.rows
    document = call("doctor", "--json")
    assert document.code == 1
    assert {"law": "an end is on record", "rows": [[runs.completed]]} in document.json["broken"]
