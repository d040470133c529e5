"""Settings: defaults, the file, the environment and flags; the last wins."""

from pathlib import Path

import pytest

from tests.cli.conftest import Call


def test_each_value_names_its_source(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "aiki.toml").write_text('url = "sqlite:///a.db"\nnamespace = "a"\nlease_ms = 2000\n')
    monkeypatch.setenv("AIKI_NAMESPACE", "b")
    monkeypatch.setenv("AIKI_RETENTION_MS", "none")
    monkeypatch.setenv("AIKI_URL", "sqlite:///b.db")
    rows = {row[0]: row[1:] for row in call("config", "show", "--url", "sqlite:///c.db").rows}
    assert rows["url"] == ["sqlite:///c.db", "--url"]
    assert rows["namespace"] == ["b", "AIKI_NAMESPACE"]
    assert rows["retention_ms"] == ["none", "AIKI_RETENTION_MS"]
    assert rows["lease_ms"] == ["2000", "aiki.toml"]
    assert rows["task_threads"] == ["32", "default"]
    document = call("config", "show", "--json").json
    assert document["lease_ms"] == {"value": 2000, "source": "aiki.toml"}


def test_another_file(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "other.toml").write_text("task_threads = 3\n")
    monkeypatch.setenv("AIKI_CONFIG", "other.toml")
    assert call("config", "show", "--json").json["task_threads"]["value"] == 3
    (place / "third.toml").write_text("task_threads = 4\n")
    shown = call("config", "show", "--json", "--config", "third.toml").json
    assert shown["task_threads"] == {"value": 4, "source": "third.toml"}


def test_variables_of_others_are_left_alone(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_GARDEN_COLOUR", "green")
    assert call("config", "show").code == 0
