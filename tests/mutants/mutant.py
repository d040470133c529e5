"""A mutant: what is changed, and by which tests it must be noticed; and where those tests are."""

from __future__ import annotations

from dataclasses import dataclass

BATCHES = "tests/engine/test_batches.py::"
CLAIMS = "tests/engine/test_claims.py::"
IDEMPOTENCY = "tests/engine/test_idempotency.py::"
LIVENESS = "tests/engine/test_liveness.py::"
STOPPING = "tests/engine/test_stopping.py::"
WAKEUPS = "tests/engine/test_wakeups.py::"
MATRIX = "tests/machine/test_matrix.py::"
CONTRACT = "tests/replay/test_contract.py::"
PROPERTY = "tests/replay/test_property.py::"
DURABLE = "tests/replay/test_durable.py::"
SQLITE = "tests/store/test_sqlite.py::"
STORE = "tests/store/test_sqlite.py::TestSqlite::"
WORKER = "tests/worker/test_worker.py::"
CALLS = "tests/workflow/test_calls.py::"
KILLERS = "tests/mutants/test_killers.py::"

SQL = "store/sqlite/queries.sql"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one line in a file below `src/aiki`, and the tests that must fail with it."""

    name: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]
