"""The benchmark works: a tiny run of every workload, so that it never rots. Nothing is timed."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import main
from bench.goals import GOALS
from bench.queues import STRATEGIES
from bench.queues import main as queues
from bench.workloads import WORKLOADS


def test_every_workload_is_measured_beside_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--tiny", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"].split()[0] for row in rows} == WORKLOADS.keys()
    assert {row["name"] for row in rows} >= GOALS["sqlite", "embedded"].keys()
    assert all(row["value"] > 0 and row["yardstick"] > 0 and row["batches"] > 0 for row in rows)


def test_the_table_says_whether_a_goal_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--tiny", "W2"])
    out = capsys.readouterr().out
    assert "yardstick Y" in out
    assert "goal <= 2/Y s" in out
    assert "reached" in out or "missed" in out


@pytest.mark.parametrize("topology", ["embedded", "separate", "redis"])
def test_servers_are_measured_too(capsys: pytest.CaptureFixture[str], topology: str) -> None:
    main(["--tiny", "--json", "--store", "postgresql", "--topology", topology, "W3"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["value"] > 0 and row["goal"] > 0
    assert ("server" in row["cpu_seconds"]) == (topology != "embedded")


def test_an_unknown_workload_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["W9"])
    assert "no workload W9" in capsys.readouterr().err


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_what_a_strategy_costs_is_counted(
    capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    queues(["--runs", "40", "--store", "sqlite", "--json", strategy])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["runs_a_second"] > 0
    assert found["server_round_trips"] > 0
    assert (found["broker_round_trips"] > 0) == (STRATEGIES[strategy].broker is not None)
