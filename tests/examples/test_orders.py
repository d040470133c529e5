"""Law: the example of the public API does what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from examples.orders import main

if TYPE_CHECKING:
    import pytest


async def test_an_approved_order_is_charged_and_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await main(f"sqlite:///{tmp_path / 'orders.db'}")
    first, *tracking = capsys.readouterr().out.splitlines()
    assert first.startswith("charge 1200 to card-1, ")
    assert tracking == ["2 x apple", "1 x pear"]
