"""Commands that read: as plain lines, as JSON and on a terminal."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aiki
from tests.cli.conftest import Call, Process, Runs


def test_list_writes_a_line_of_cells_for_each_run(call: Call, runs: Runs) -> None:
    answer = call("runs", "list")
    assert answer.code == 0
    statuses = {row[0]: row[3] for row in answer.rows}
    assert statuses == {
        runs.completed: "completed", runs.failed: "failed", runs.waiting: "awaiting_event",
        runs.diverged: "diverged", runs.stalled: "stalled",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "failed"], "failed"),
        (["--workflow", "waiting"], "waiting"),
        (["--reference", "order-1"], "completed"),
        (["--status", "diverged", "--version", "1.0.0"], "diverged"),
    ],
)
def test_list_filters(call: Call, runs: Runs, options: list[str], expected: str) -> None:
    assert [row[0] for row in call("runs", "list", *options).rows] == [getattr(runs, expected)]
    found = call("runs", "list", "--json", *options).json
    assert [run["id"] for run in found["runs"]] == [getattr(runs, expected)]


def test_list_goes_on_at_the_cursor(call: Call, runs: Runs) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        following = ["--cursor", cursor] if cursor else []
        page = call("runs", "list", "--limit", "2", "--json", *following).json
        seen += [run["id"] for run in page["runs"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == sorted(runs)
    assert "more: --cursor" in call("runs", "list", "--limit", "2").err


def test_show(call: Call, runs: Runs) -> None:
    shown = dict(call("runs", "show", runs.completed).rows)
    assert shown["output"] == "2"
    assert shown["reference"] == "order-1"
    assert shown["created"].endswith("Z")
    assert "ValueError: -1 is negative" in call("runs", "show", runs.failed).out
    assert "waive" in call("runs", "show", runs.diverged).out
    assert "redeliver" in call("runs", "show", runs.stalled).out
    document = call("runs", "show", runs.failed, "--json").json
    assert document["run"]["created_at"].endswith("Z")
    assert document["failure"]["kind"] == "raised"


def test_show_takes_the_start_of_an_id(call: Call, runs: Runs) -> None:
    assert dict(call("runs", "show", runs.waiting[:-1]).rows)["run"] == runs.waiting
    assert dict(call("runs", "show", runs.waiting.upper()).rows)["run"] == runs.waiting


def test_history(call: Call, runs: Runs) -> None:
    kinds = [row[1] for row in call("runs", "history", runs.completed).rows]
    assert kinds[0] == "status"
    assert "task" in kinds
    assert any(row[1] == "wait" for row in call("runs", "history", runs.waiting).rows)
    assert "recorded but not asked for" in call("runs", "history", runs.diverged).out
    document = call("runs", "history", runs.completed, "--json").json
    assert [entry["value"] for entry in document["entries"]] == [2]


def test_watch_of_an_ended_run(call: Call, runs: Runs) -> None:
    answer = call("runs", "watch", runs.completed)
    assert (answer.code, answer.rows[-1][1:]) == (0, ["completed", "returned", "2"])
    answer = call("runs", "watch", runs.failed)
    assert answer.code == 1
    assert answer.rows[-1][3] == "ValueError: -1 is negative"


def test_watch_is_interrupted(start: Callable[..., Process], runs: Runs) -> None:
    process = start("runs", "watch", runs.waiting, "--json")
    process.until('"waiting"')
    process.popen.send_signal(signal.SIGINT)
    assert process.ended() == 130
    assert process.lines[-1] == "error: interrupted\n"


def test_catalog(call: Call, runs: Runs) -> None:
    assert ["quick", "1.0.0"] in [row[:2] for row in call("workflows").rows]
    assert {"quick", "waiting"} <= {
        each["spec"]["name"] for each in call("workflows", "--json").json
    }
    assert {row[1] for row in call("workers").rows} == {"stopped"}
    assert {each["status"] for each in call("workers", "--json").json} == {"stopped"}
    assert [row[1] for row in call("dead-letters").rows] == [runs.stalled]
    assert [each["run_id"] for each in call("dead-letters", "--json").json] == [runs.stalled]


def test_version(call: Call) -> None:
    assert dict(call("version").rows)["aiki"] == aiki.__version__
    assert call("version", "--json").json["aiki"] == aiki.__version__


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["runs", "list"], "status"),
        (["runs", "show", "ID"], "output"),
        (["runs", "history", "ID"], "recorded"),
        (["runs", "watch", "ID"], "1 done"),
        (["workflows"], "first seen"),
        (["workers"], "incarnation"),
        (["dead-letters"], "reason"),
        (["dead-letters", "--namespace", "other"], "no dead letters"),
        (["config", "show"], "setting"),
        (["runs", "show", "ID", "--json"], '\n  "output": 2'),
    ],
)
def test_on_a_terminal(
    call: Call, runs: Runs, monkeypatch: pytest.MonkeyPatch, command: list[str], expected: str
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    answer = call(*[runs.completed if word == "ID" else word for word in command])
    assert answer.code == 0
    assert expected in answer.out


def test_what_moves_a_cursor_is_escaped(call: Call, runs: Runs) -> None:
    call("runs", "start", "quick", "1.0.0", '{"n": 1}', "--reference-id", "a\x1b[2J\tb")
    answer = call("runs", "list", "--limit", "1")
    assert "\x1b" not in answer.out
    assert answer.rows[0][6] == "a\\x1b[2J\\tb"


def test_a_pipe_that_nobody_reads_is_no_error(runs: Runs) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "aiki.cli", "runs", "list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys; from aiki.cli import main; code = main(['--help']); "
        "heavy = [name for name in sys.modules if name in ('sqlite3', 'rich') or "
        "name.startswith(('aiki.engine', 'aiki.store', 'aiki.compose'))]; "
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "dev" in done.stdout


def test_reading_makes_no_database(call: Call, place: Path) -> None:
    for command in (["runs", "list"], ["workflows"], ["workers"], ["runs", "show", "0123"]):
        assert call(*command).code == 1
    assert list(place.iterdir()) == []
