"""A pytest plugin for copies: what is tested must be the copy, never the installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

import aiki


def pytest_configure(config: pytest.Config) -> None:
    """End at once, and not as a failed test, when another aiki was imported."""
    here = Path.cwd() / "src" / "aiki"
    if Path(aiki.__file__).parent != here:
        raise pytest.UsageError(f"{aiki.__file__} is not in {here}: a mutant would not be tested")
