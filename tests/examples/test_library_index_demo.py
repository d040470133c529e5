"""Law: the demo ends well exactly when no recorded task ran again."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from aiki.compose import inspect
from examples import ledger
from examples.ledger import Execution, Snapshot
from examples.library_index import STANDARD_LIBRARY
from tests.services.postgres import postgres
from tests.services.redis import private_server

ROOT = Path(__file__).resolve().parents[2]
FILES = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small library, with a file that does not parse."""
    library = tmp_path / "library"
    (library / "package").mkdir(parents=True)
    for number in range(FILES - 1):
        text = f'"""Module {number} talks about a zip archive."""\n\n\ndef work_{number}(): ...\n'
        (library / "package" / f"module_{number}.py").write_text(text, encoding="utf-8")
    (library / "broken.py").write_text("def (:\n", encoding="utf-8")
    return library


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its temporary folder."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.library_index_demo", "--folder", str(folder), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_demo_proves_that_nothing_recorded_runs_again(folder: Path, scratch: Path) -> None:
    done = demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SIGKILL") == 2
    assert done.stdout.count("executed again afterwards: 0") == 2
    assert f"  {FILES} files, " in done.stdout
    assert "1 files do not parse:\n    broken.py: SyntaxError" in done.stdout
    assert "Search for 'zip archive':\n  package/module_" in done.stdout
    assert "The proof holds" in done.stdout
    assert list(scratch.iterdir()) == []  # it cleans up after itself


def test_servers_and_workers_die_and_nothing_recorded_runs_again(folder: Path) -> None:
    database = postgres("18").schema_url(f"t_{uuid.uuid4().hex}")
    done = demo(folder, "--servers", "--database", database)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILL of worker" in done.stdout
    assert "SIGKILL of server" in done.stdout
    assert done.stdout.count("executed again afterwards: 0") == 2
    assert "The proof holds" in done.stdout


def test_redis_is_wiped_every_five_seconds_and_nothing_is_lost(tmp_path: Path) -> None:
    database = postgres("18").schema_url(f"t_{uuid.uuid4().hex}")
    with private_server() as redis:
        done = demo(
            Path(STANDARD_LIBRARY),
            *("--servers", "--database", database, "--queue", redis.url, "--flush-every", "5"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SIGKILL of worker" in done.stdout
        assert done.stdout.count("executed again afterwards: 0") == 2
        assert "The proof holds" in done.stdout
        flushes = re.search(r"FLUSHALL came (\d+) times", done.stdout)
        assert flushes is not None
        assert int(flushes[1]) >= 2
        assert redis.client().info("commandstats")["cmdstat_xreadgroup"]["calls"] > 0
    assert asyncio.run(inspect(database)) == []


def test_a_forged_ledger_makes_the_demo_fail(folder: Path) -> None:
    done = demo(folder, "--limit", "12", "--tamper")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "was recorded and ran again" in done.stdout
    assert "The proof does not hold" in done.stdout


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"demo: there is no .py file below {tmp_path}\n"


A = Execution("run-1-a-0", "parse_file", "a.py")
B = Execution("run-1-b-0", "parse_file", "b.py")
BOTH = frozenset({A.key, B.key})


def test_what_was_not_on_record_may_run_again() -> None:
    snapshot = Snapshot(frozenset({A.key}), 2)
    assert ledger.objections([snapshot], [A, B, B], BOTH, ["a.py", "b.py"]) == []


def test_a_recorded_task_that_runs_again_is_found() -> None:
    snapshot = Snapshot(frozenset({A.key}), 2)
    found = ledger.objections([snapshot], [A, B, A], BOTH, ["a.py", "b.py"])
    assert found == ["kill 1: parse_file a.py was recorded and ran again"]


@pytest.mark.parametrize(
    ("snapshot", "executions", "recorded", "objection"),
    [
        (Snapshot(frozenset(), 0), [A, B], BOTH, "kill 1: nothing was on record"),
        (Snapshot(frozenset({A.key}), 1), [A, B], frozenset({B.key}), "recorded results are gone"),
        (Snapshot(frozenset({A.key}), 1), [A], BOTH, "nobody computed"),
        (Snapshot(frozenset({A.key}), 1), [A], frozenset({A.key}), "b.py was never parsed"),
        (Snapshot(frozenset({A.key}), 1), [A, B], frozenset({A.key}), "is not on record"),
    ],
)
def test_a_proof_that_shows_too_little_does_not_hold(
    snapshot: Snapshot, executions: list[Execution], recorded: frozenset[str], objection: str
) -> None:
    found = ledger.objections([snapshot], executions, recorded, ["a.py", "b.py"])
    assert any(objection in each for each in found), found
