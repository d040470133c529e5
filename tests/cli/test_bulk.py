"""Commands on many at once do what they say, to nothing else, and say what they left out."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import Call, Process, Runs

UNKNOWN = "01234567-0123-7123-8123-0123456789ab"


def test_a_dry_run_changes_nothing(call: Call, runs: Runs) -> None:
    tried = call("runs", "cancel", "--workflow", "waiting", "--dry-run")
    assert (tried.code, tried.rows) == (0, [[runs.waiting, "cancel", ""]])
    assert call("runs", "show", runs.waiting, "--json").json["run"]["stop_requested"] is None


def test_a_filter_cancels_what_it_matches_and_nothing_else(call: Call, runs: Runs) -> None:
    done = call("runs", "cancel", "--status", "awaiting_event", "--reason", "over", "--json")
    assert (done.code, done.json["done"]) == (0, [runs.waiting])
    assert call("runs", "show", runs.waiting, "--json").json["run"]["stop_requested"] == "cancel"
    assert call("runs", "show", runs.diverged, "--json").json["run"]["stop_requested"] is None
    again = call("runs", "cancel", "--workflow", "waiting")
    assert (again.code, again.rows[0][:2]) == (1, [runs.waiting, "refused"])


def test_reruns_are_linked_to_their_originals(call: Call, runs: Runs) -> None:
    one = call("runs", "rerun", runs.failed).out.strip()
    assert call("runs", "show", one, "--json").json["run"]["rerun_of"] == runs.failed
    tried = call("runs", "rerun", "--workflow", "quick", "--status", "completed", "--dry-run")
    assert tried.rows == [[runs.completed, "rerun", ""]]
    many = call("runs", "rerun", "--workflow", "quick", "--limit", "1")
    assert [row[1] for row in many.rows] == ["started"]
    assert "more" in many.err


def test_a_list_takes_the_same_filters(call: Call, runs: Runs) -> None:
    oldest = call("runs", "list", "--order", "oldest").rows
    assert [row[0] for row in oldest] == sorted(runs)
    assert call("runs", "list", "--created-before", "2020-01-01").rows == []
    assert len(call("runs", "list", "--created-after", "2020-01-01T00:00:00Z").rows) == 5
    assert call("runs", "list", "--parent", runs.completed).rows == []
    assert call("runs", "list", "--shard", "elsewhere").rows == []


def test_events_of_a_file_are_sent(call: Call, runs: Runs, place: Path) -> None:
    lines = [
        {"run": runs.waiting, "event": "go", "data": 4, "key": "first"},
        {"run": runs.completed, "event": "go", "data": 5},
        {"run": runs.waiting, "event": "go", "data": 4, "key": "first"},
    ]
    text = b"\n\n".join(map(msgspec.json.encode, lines))
    (place / "events.jsonl").write_bytes(text)
    sent = call("events", "send", "events.jsonl")
    assert sent.code == 1
    assert sent.rows[0] == ["sent", "2"]
    assert sent.rows[1][:2] == ["refused", runs.completed]
    history = call("runs", "history", runs.waiting, "--json").json
    assert [fact["value"] for fact in history["facts"] if fact["name"] == "go"] == [4]


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("{", "line 2 is no JSON object"),
        ("[]", "line 2 is no JSON object"),
        ('{"run": "a"}', "line 2 lacks 'event'"),
        ('{"run": "a", "event": "go", "dta": 1}', "line 2 has a member 'dta'"),
        ('{"run": "a", "event": "go", "key": 1}', "line 2: 'key' is a text"),
    ],
)
def test_a_line_that_cannot_be_understood_refuses_the_file(
    call: Call, runs: Runs, place: Path, line: str, fix: str
) -> None:
    good = msgspec.json.encode({"run": runs.waiting, "event": "go", "data": 1}).decode()
    (place / "events.jsonl").write_text(f"{good}\n{line}\n")
    answer = call("events", "send", "events.jsonl")
    assert answer.code == 1
    assert fix in answer.err
    assert call("runs", "history", runs.waiting, "--json").json["facts"] == []


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (("runs", "cancel"), "choose runs by"),
        (("runs", "rerun"), "choose runs by"),
        (("runs", "cancel", UNKNOWN, "--dry-run"), "an id stands alone"),
        (("runs", "rerun", UNKNOWN, "--workflow", "a"), "an id stands alone"),
        (("runs", "watch"), "or all by --all"),
        (("runs", "watch", UNKNOWN, "--all"), "or all by --all"),
        (("runs", "watch", UNKNOWN, "--status", "failed"), "or all by --all"),
        (("runs", "list", "--created-after", "soon"), "ISO 8601"),
        (("namespace", "retention", "0d"), "forever keeps them"),
        (("namespace", "retention", "a while"), "such as 30d"),
        (("events", "send", "none.jsonl"), "none.jsonl"),
    ],
)
def test_a_mistake_names_the_fix(call: Call, runs: Runs, words: tuple[str, ...], fix: str) -> None:
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert fix in answer.err


def test_nothing_is_cancelled_without_a_filter(call: Call, runs: Runs) -> None:
    assert call("runs", "cancel").code == 2
    assert call("runs", "show", runs.waiting, "--json").json["run"]["stop_requested"] is None


def test_retention_of_a_namespace(call: Call, runs: Runs) -> None:
    assert dict(call("namespace", "show").rows)["retention"] == "default"
    assert dict(call("namespace", "retention", "30d").rows)["retention"] == "30d 0h"
    assert call("namespace", "show", "--json").json["retention_ms"] == 30 * 86_400_000
    assert dict(call("namespace", "retention", "forever").rows)["retention"] == "forever"
    assert call("namespace", "retention", "default", "--json").json["retention_ms"] is None
    assert dict(call("namespace", "show", "--namespace", "other").rows)["namespace"] == "other"


def test_the_backlog_counts_what_waits_for_workers(call: Call, runs: Runs) -> None:
    for _ in range(2):
        call("runs", "start", "nobody", "2.0.0", "--unseen")
    rows = {tuple(row[:3]): row[3] for row in call("backlog").rows}
    assert rows["nobody", "2.0.0", ""] == "2"


def test_all_runs_are_watched(
    call: Call, runs: Runs, start: Callable[..., Process], place: Path
) -> None:
    watching = start("runs", "watch", "--all", "--workflow", "waiting", "--json")
    # It begins with what happens after its first call: so it is told until it says something.
    while watching.popen.poll() is None:
        call("runs", "pause", runs.waiting)
        call("runs", "resume", runs.waiting)
        if watching.has_output():
            break
    line = msgspec.json.decode(watching.until('"revision"'))
    assert (line["run_id"], line["workflow"]) == (runs.waiting, "waiting")
    watching.popen.terminate()
