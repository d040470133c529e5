"""Law: every public name is there, explained and documented; the map names what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiki

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", aiki.__all__)
def test_public_names_have_a_docstring_and_are_documented(name: str) -> None:
    value = getattr(aiki, name)
    if name != "__version__":
        assert (value.__doc__ or "").strip(), f"aiki.{name} has no docstring"
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    assert any(word.search(page.read_text(encoding="utf-8")) for page in PAGES), name


@pytest.mark.parametrize(
    "names", ["workflow", "Run, Workflow, event, task, workflow", "Worker, connect, workflow"]
)
def test_the_function_workflow_is_not_hidden_by_its_package(names: str) -> None:
    """Loading `aiki.workflow` for another name binds the package to the name of the function."""
    program = f"from aiki import {names}; workflow('a'); import aiki; aiki.workflow('b')"
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_the_map_of_the_readme_is_true() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Where things are")[1].split("\n## ")[0]
    paths = re.findall(r"^\| `([\w./]+)` \|", section, re.MULTILINE)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["README", "docs/architecture", "docs/reliability", "docs/adding"])
def test_paths_that_a_page_names_exist(name: str) -> None:
    text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|tests|examples|scripts|docs)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
