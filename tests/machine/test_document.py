"""`docs/state-machine.md` names every row that the machine allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiki.machine import LEGAL
from aiki.model.run import STATUSES

TEXT = (Path(__file__).parents[2] / "docs" / "state-machine.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| T")
]
ENDS = sorted(
    {
        (before, after, reason)
        for by_status in LEGAL.values()
        for before, ends in by_status.items()
        for after, reason in ends
        if reason is not None
    }
)


@pytest.mark.parametrize(("before", "after", "reason"), ENDS)
def test_each_legal_row_is_written_down(before: str, after: str, reason: str) -> None:
    assert any(
        (f"`{before}`" in row[1] or row[1] == "any live") and f"`{after}` (`{reason}`)" in row[2]
        for row in ROWS
    )


def test_rows_and_statuses_are_complete() -> None:
    named = {name.strip() for row in ROWS for name in row[0].split(",")}
    assert named == {f"T{number}" for number in range(1, 22)}
    assert [status for status in STATUSES if f"`{status}`" not in TEXT] == []


def test_no_row_is_invented() -> None:
    known = {f"`{after}` (`{reason}`)" for _, after, reason in ENDS} | {
        "`scheduled` (`new`)",
        "`awaiting_turn` (`new`)",
    }
    written = {end for row in ROWS for end in row[2].replace(", then ", ", ").split(", ")}
    assert written - {"no transition"} <= known
