"""Law: type checkers accept the example, and of the misuse they reject each marked line, alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MISUSE = ROOT / "tests" / "typing" / "misuse.py"
BIN = Path(sys.executable).parent
_SILENCER = re.compile(r"  # type: ignore\[[a-z, -]+\]")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The misuse without what silences the checkers."""
    text, silenced = _SILENCER.subn("", MISUSE.read_text(encoding="utf-8"))
    assert silenced == len(marked(text))
    file = tmp_path / "misuse.py"
    file.write_text(text, encoding="utf-8")
    return file


def marked(text: str) -> dict[int, str]:
    """The number of each marked line, with its mark."""
    found = ((n, re.search(r"# (E\d+)", line)) for n, line in enumerate(text.splitlines(), 1))
    return {number: match[1] for number, match in found if match is not None}


def tool(name: str) -> str:
    path = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    assert path is not None, f"{name} is not installed: ./scripts/setup"
    return path


def rejected_by_pyright(folder: Path) -> set[tuple[str, int]]:
    settings = {
        "include": ["."],
        "extraPaths": [str(ROOT), str(ROOT / "src")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [tool("pyright"), "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [each for each in found if each["severity"] == "error"]
    return {(Path(e["file"]).name, e["range"]["start"]["line"] + 1) for e in errors}


def rejected_by_mypy(file: Path) -> set[tuple[str, int]]:
    done = subprocess.run(
        [tool("mypy"), "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir",
         str(file.parent / "cache"), "--python-executable", sys.executable, str(file)],
        cwd=file.parent,
        env={**os.environ, "MYPYPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    lines = re.findall(r"^(.+?):(\d+): error:", done.stdout, re.MULTILINE)
    assert lines, done.stdout + done.stderr
    return {(Path(path).name, int(number)) for path, number in lines}


def test_marks_are_numbered_without_gaps() -> None:
    marks = list(marked(MISUSE.read_text(encoding="utf-8")).values())
    assert marks == [f"E{number}" for number in range(1, len(marks) + 1)]


def test_pyright_rejects_exactly_the_marked_lines_and_accepts_the_example(bare: Path) -> None:
    shutil.copy(ROOT / "examples" / "orders.py", bare.with_name("orders.py"))
    expected = {("misuse.py", number) for number in marked(bare.read_text(encoding="utf-8"))}
    assert rejected_by_pyright(bare.parent) == expected


def test_mypy_rejects_exactly_the_marked_lines(bare: Path) -> None:
    expected = {("misuse.py", number) for number in marked(bare.read_text(encoding="utf-8"))}
    assert rejected_by_mypy(bare) == expected
