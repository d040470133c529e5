"""Two engines on one database at the same time: what they promised is true, and nothing is broken.

`AIKI_TEST_STORMS` makes more of them; each begins with another seed.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from aiki.model.audit import Principal
from tests.differential.invariants import OF_WORKERS, broken
from tests.differential.stores import Look, kinds, look_at, using
from tests.differential.storm import Storm
from tests.engine.support import Ring

STORMS = int(os.environ.get("AIKI_TEST_STORMS", "1"))
OPERATIONS = 100
SERVERS = [kind for kind in kinds() if kind != "sqlite"]
"""One process writes to SQLite at a time, whoever asks: there is nothing to see."""


@pytest.mark.timeout(60 + 60 * STORMS)
@pytest.mark.parametrize("kind", SERVERS)
def test_what_two_engines_promise_at_once_is_true(kind: str, tmp_path: Path) -> None:
    with using(kind):
        for seed in range(STORMS):
            _storm(tmp_path / f"storm-{seed}.db", seed)


def _storm(path: Path, seed: int) -> None:
    loop = asyncio.new_event_loop()
    rings = [Ring(path) for _ in range(2)]
    for ring in rings:
        ring.api = ring.engine.session(Principal(remote=True))
        loop.run_until_complete(ring.engine.start())
    look = look_at(path, loop)
    try:
        storm = Storm(rings, seed)
        loop.run_until_complete(storm.blow(OPERATIONS))
        assert broken(look, OF_WORKERS) == {}
        _promises_are_kept(storm, look)
        loop.run_until_complete(storm.settle())
        assert broken(look, OF_WORKERS) == {}
        _nothing_is_left(look)
    finally:
        look.close()
        for ring in rings:
            loop.run_until_complete(ring.engine.stop())
        loop.close()


def _promises_are_kept(storm: Storm, look: Look) -> None:
    """What was answered is there once; what was refused is not there."""
    runs = [row[0] for row in look.rows("SELECT id FROM run")]
    assert storm.started <= set(runs)
    facts = {row[0] for row in look.rows("SELECT id FROM fact WHERE kind = 'event'")}
    assert storm.sent <= facts
    tokens = [bytes(row[0]) for row in look.rows("SELECT value FROM entry WHERE kind = 'task'")]
    assert len(set(tokens)) == len(tokens)
    assert storm.recorded == set(tokens)
    assert not storm.refused & set(tokens)
    assert min(len(storm.started), len(storm.sent), len(storm.recorded)) > 10
    assert storm.refused


def _nothing_is_left(look: Look) -> None:
    ended = "('completed', 'failed', 'cancelled')"
    assert look.rows(f"SELECT id, status FROM run WHERE status NOT IN {ended}") == []
    for table in ("outbox", "wait"):
        assert look.rows(f"SELECT run_id FROM {table}") == []
