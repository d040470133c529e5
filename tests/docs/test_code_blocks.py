"""Law: the programs in the documentation run, and its commands are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/guide.md", "docs/queues.md")


def blocks(page: str, language: str) -> str:
    """The blocks of one language on a page; each line keeps its number, for tracebacks."""
    kept: list[str] = []
    within: str | None = None
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        fence = re.fullmatch(r"```(\w*)", line)
        if fence is not None:
            within = None if within is not None else fence[1]
        kept.append(line if fence is None and within == language else "")
    assert within is None, f"{page} leaves a block open"
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run_in_order(page: str, tmp_path: Path) -> None:
    program = tmp_path / f"{Path(page).stem.lower()}.py"
    program.write_text(blocks(page, "python"), encoding="utf-8")
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_commands_of_shell_blocks_exist(page: str) -> None:
    for line in blocks(page, "sh").splitlines():
        words = line.split("#")[0].split()
        if words and words[0].startswith("./"):
            script = ROOT / words[0]
            assert script.is_file(), line
            assert os.access(script, os.X_OK), line


def test_the_readme_names_the_two_commands() -> None:
    commands = {line.split("#")[0].strip() for line in blocks("README.md", "sh").splitlines()}
    assert {"./scripts/demo", "./scripts/test"} <= commands
