"""Every mistake gets one line that names the fix: a table of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.conftest import Call, Runs

DEFINITION = "from aiki import Run, event, task, workflow\n"


class Mistake(NamedTuple):
    """A command line, the folder that it finds, and a part of the answer."""

    words: str
    code: int
    fix: str
    files: dict[str, str] = {}  # noqa: RUF012  (never changed)
    environment: dict[str, str] = {}  # noqa: RUF012


def app(*lines: str) -> dict[str, str]:
    """A file `shop.py` with these definitions."""
    return {"shop.py": DEFINITION + "\n".join(lines) + "\n"}


NOWHERE = "01234567-0123-7123-8123-0123456789ab"
DEV = "dev shop.py --no-reload"
MISTAKES = [
    # Words
    Mistake("rns list", 2, "Did you mean 'runs'"),
    Mistake("runs lst", 2, "Did you mean 'list'"),
    Mistake("runs", 2, "Commands:"),
    Mistake("", 2, "Commands:"),
    Mistake("runs list --jsn", 2, "Did you mean '--json'"),
    Mistake("runs --json list", 2, "stands after the command"),
    Mistake("--url sqlite:///a.db runs list", 2, "stands after the command"),
    Mistake("runs show", 2, "Missing argument 'ID'"),
    Mistake("runs show a b", 2, "aiki runs show --help"),
    Mistake("runs start", 2, "Missing argument 'WORKFLOW'"),
    Mistake("runs start quick", 2, "Missing argument 'VERSION'"),
    Mistake("runs send WAITING", 2, "Missing argument 'EVENT'"),
    Mistake("runs list --limit 0", 2, "1<=x<=1000"),
    Mistake("runs list --limit many", 2, "not a valid integer"),
    Mistake("runs list --limit", 2, "requires an argument"),
    Mistake("runs list --status complete", 2, "did you mean completed?"),
    Mistake("runs list --status xyzzy", 2, "there are: scheduled, queued"),
    Mistake("runs waive DIVERGED --numbers 1;2", 2, "such as 3,4"),
    Mistake("runs waive DIVERGED --numbers 0", 2, "1 upwards"),
    Mistake("dead-letters --limit 5000", 2, "1<=x<=1000"),
    Mistake("config", 2, "Commands:"),
    Mistake("dev", 2, "Missing argument 'APP'"),
    # Ids and states
    Mistake("runs show xyz", 1, "hexadecimal"),
    Mistake("runs show 012", 1, "at least 4"),
    Mistake("runs show 0000", 1, "aiki runs list"),
    Mistake(f"runs show {NOWHERE}", 1, "aiki runs list"),
    Mistake(f"runs watch {NOWHERE}", 1, "--namespace"),
    Mistake("runs show SEVERAL", 1, "several runs, give more of it"),
    Mistake("runs show WAITING --namespace other", 1, "in namespace other"),
    Mistake("runs cancel COMPLETED", 1, "nothing is left to cancel"),
    Mistake("runs terminate COMPLETED", 1, "completed"),
    Mistake("runs send COMPLETED go 1", 1, "nobody will take event"),
    Mistake("runs waive WAITING", 1, "waiting"),
    Mistake("runs redeliver COMPLETED", 1, "completed"),
    # Arguments and payloads
    Mistake("runs send WAITING go five", 2, "double quotes inside single"),
    Mistake("runs send WAITING go NaN", 2, "is no JSON"),
    Mistake('runs send WAITING go "\\ud800"', 2, "is no JSON"),
    Mistake("runs start quick 1.0.0 [1]", 2, "object by name"),
    Mistake("runs start quick 1.0.0 {n:1}", 2, "is no JSON"),
    Mistake("runs start quick 1.0.0", 1, "lacks n; it takes n (integer), note (string, optional)"),
    Mistake('runs start quick 1.0.0 {"m":1,"n":2}', 1, "has no argument m"),
    Mistake("runs start quikc 1.0.0", 1, "did you mean quick?"),
    Mistake("runs start quick 2.0.0", 1, "there are: 1.0.0"),
    Mistake("runs start a:b 1.0.0 --unseen", 1, "not allowed"),
    Mistake('runs start quick 1.0.0 {"n":3} --reference-id order-1', 1, "order-1"),
    # URLs and files
    Mistake("runs list --url sqlite:///none.db", 1, "aiki migrate"),
    Mistake("runs list --url oracle://host/db", 1, "postgresql://, mysql://"),
    Mistake("runs list --url aiki.db", 1, "for example sqlite:///aiki.db"),
    Mistake("runs list --url sqlite://aiki.db", 1, "sqlite:///aiki.db"),
    Mistake("runs list --url sqlite:///", 1, "name a file"),
    Mistake("runs list --url sqlite:///:memory:", 1, "name a file"),
    Mistake("runs list --url sqlite:///a.db?mode=ro", 1, "takes no options"),
    Mistake("runs list --url sqlite:///.", 1, "name a file in it"),
    Mistake("migrate --url sqlite:///no/a.db", 1, "make it first"),
    Mistake("runs list --url sqlite:///text.db", 1, "text.db", {"text.db": "no database " * 99}),
    Mistake("migrate --url sqlite:///text.db", 1, "text.db", {"text.db": "no database " * 99}),
    Mistake("migrate --url sqlite:///other.db", 1, "another program"),
    Mistake("runs list --url sqlite:///newer.db", 1, "upgrade Aiki"),
    Mistake("doctor --url sqlite:///none.db", 1, "there is no file"),
    Mistake("doctor --url http://127.0.0.1:1", 1, "examine its database"),
    # Settings
    Mistake("config show --config none.toml", 1, "does not exist"),
    Mistake("config show", 1, "AIKI_URL", environment={"AIKI_ULR": "sqlite:///a.db"}),
    Mistake("config show", 1, "--config", environment={"AIKI_CONFIG": "none.toml"}),
    Mistake("config show", 1, "AIKI_LEASE_MS", environment={"AIKI_LEASE_MS": "soon"}),
    Mistake("config show", 1, ">= 1000", environment={"AIKI_LEASE_MS": "10"}),
    Mistake("config show", 1, "debug, info", environment={"AIKI_LOG_LEVEL": "loud"}),
    Mistake("config show", 1, "length >= 1", environment={"AIKI_NAMESPACE": ""}),
    Mistake("runs list --namespace a:b", 1, "leave out ':'"),
    Mistake("config show", 1, "did you mean 'lease_ms'", {"aiki.toml": "lease = 3000"}),
    Mistake("config show", 1, "there are: url", {"aiki.toml": "xyzzy = 1"}),
    Mistake("config show", 1, "top level", {"aiki.toml": "[worker]\nlease_ms = 3000"}),
    Mistake("config show", 1, "no TOML", {"aiki.toml": "lease_ms ="}),
    Mistake("config show", 1, "a boolean", {"aiki.toml": "task_threads = true"}),
    Mistake(
        "config show", 1, "at most half",
        {"aiki.toml": "lease_ms = 2000\nheartbeat_interval_ms = 1500"},
    ),
    Mistake(f"{DEV} --max-concurrent-runs 0", 1, ">= 1", app("x = 1")),
    Mistake(f"{DEV} --log-level loud", 1, "debug, info", app("x = 1")),
    # Applications and definitions
    Mistake("dev shap.py", 1, "did you mean shop.py?", app("x = 1")),
    Mistake("dev missing.py", 1, "there is no file missing.py"),
    Mistake("dev .", 1, "name a file in it"),
    Mistake("dev missing_module", 1, "there is no module"),
    Mistake("dev shop:", 1, "name a workflow behind it", app("x = 1")),
    Mistake("dev shop/", 1, "there is no file", app("x = 1")),
    Mistake("dev my-shop", 1, "neither a file nor a module"),
    Mistake("dev queue.py", 1, "rename it", {"queue.py": ""}),
    Mistake(DEV, 1, "defines no workflow", app("x = 1")),
    Mistake(DEV, 1, "has no version yet", app("orders = workflow('orders')")),
    Mistake(DEV, 1, "shop.py:2: NameError", app("missing()")),
    Mistake(DEV, 1, "shop.py:2:", app("def (:")),
    Mistake(DEV, 1, "No module named 'nothing_here'", app("import nothing_here")),
    Mistake(DEV, 1, "__main__", app("raise SystemExit(3)")),
    Mistake(DEV, 1, "leave out ':'", app("workflow('a:b')")),
    Mistake(
        DEV, 1, "must be an `async def`",
        app("@workflow('a').version('1')", "def a(run: Run) -> None: ..."),
    ),
    Mistake(DEV, 1, "type cannot be encoded; use", app("@task", "def a(x: type) -> None: ...")),
    Mistake(
        DEV, 1, "given twice",
        app(
            "@workflow('a').version('1')", "async def a(run: Run) -> None: ...",
            "@workflow('a').version('1')", "async def b(run: Run) -> None: ...",
        ),
    ),
    Mistake(
        "dev shop.py:ordr --no-reload", 1, "did you mean order?",
        app("@workflow('a').version('1')", "async def order(run: Run) -> None: ..."),
    ),
    Mistake("dev shop:number --no-reload", 1, "not a workflow", app("number = 3")),
]  # fmt: skip


def _prepare(place: Path, mistake: Mistake) -> None:
    for name, text in mistake.files.items():
        (place / name).write_text(text)
    if "other.db" in mistake.words:
        with closing(sqlite3.connect(place / "other.db")) as connection:
            connection.execute("CREATE TABLE run (a)")
    if "newer.db" in mistake.words:
        (place / "newer.db").write_bytes((place / "aiki.db").read_bytes())
        with closing(sqlite3.connect(place / "newer.db", isolation_level=None)) as connection:
            (name,) = connection.execute(
                "SELECT name FROM sqlite_master WHERE name LIKE '%migration%' AND type = 'table'"
            ).fetchone()
            connection.execute(f"UPDATE {name} SET version = version + 1000")


def _words(mistake: Mistake, runs: Runs) -> list[str]:
    names = {name.upper(): id for name, id in runs._asdict().items()}
    names["SEVERAL"] = runs.completed[:8]
    return [names.get(word, word) for word in mistake.words.split()]


@pytest.mark.parametrize(
    "mistake", [pytest.param(each, id=f"{each.words}: {each.fix}") for each in MISTAKES]
)
def test_the_answer_names_the_fix(
    call: Call, runs: Runs, place: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake
) -> None:
    _prepare(place, mistake)
    for name, value in mistake.environment.items():
        monkeypatch.setenv(name, value)
    answer = call(*_words(mistake, runs))
    assert (answer.code, answer.out) == (mistake.code, "")
    assert mistake.fix in answer.err
    if "Commands:" not in mistake.fix:
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1


def test_there_are_fifty() -> None:
    assert len(MISTAKES) >= 50


def test_what_nobody_expects_is_one_line(
    call: Call, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a\nb")

    monkeypatch.setattr("aiki.cli.session.client_of", fail)
    answer = call("runs", "list")
    assert (answer.code, answer.err) == (
        1, "error: unexpected RuntimeError: a b; AIKI_DEBUG=1 shows where\n",
    )  # fmt: skip


def test_debug_shows_where(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aiki.cli import main

    monkeypatch.setenv("AIKI_DEBUG", "1")
    assert main(["runs", "show", "xyz"]) == 1
    assert "Traceback" in capsys.readouterr().err
