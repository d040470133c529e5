"""Laws: the committed files say what the structs say, and a number never changes its meaning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiki.wire.proto.render import registry, render
from scripts.proto_files import PROTO, ROOT

COMMITTED = (ROOT / PROTO).read_text(encoding="utf-8")


def test_the_committed_files_are_what_the_structs_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.proto_files", "--check"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_number_that_was_given_is_kept() -> None:
    moved = COMMITTED.replace("  int64 wait_ms = 2;", "  int64 wait_ms = 77;", 1)
    assert moved != COMMITTED
    assert render(moved) == moved


def test_a_field_that_is_gone_leaves_its_number_reserved() -> None:
    with_more = COMMITTED.replace(
        "message Started {\n", "message Started {\n  int64 gone = 3;\n", 1
    )
    without = render(with_more)
    assert "message Started {\n  reserved 3;  // gone\n" in without
    assert render(without) == without
    assert registry(without)["Started"].next_number == 4


def test_a_new_field_gets_a_number_that_was_never_used() -> None:
    reserved = COMMITTED.replace(
        "message Started {\n  string id = 1;\n", "message Started {\n  reserved 9;  // gone\n", 1
    )
    assert reserved != COMMITTED
    assert "  string id = 10;\n" in render(reserved)


def test_a_field_whose_type_changed_is_refused() -> None:
    changed = COMMITTED.replace("  bool created = 2;", "  string created = 2;", 1)
    assert changed != COMMITTED
    with pytest.raises(ValueError, match=r"Started\.created was string and is bool now"):
        render(changed)
