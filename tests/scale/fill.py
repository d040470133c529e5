"""Finished runs in large numbers, made inside the database: with payloads, records and letters.

For ten of them there is one that is ready, and that no worker serves. Two namespaces hold them, and
one in twenty is unlike the others, so that every filter has something to find, and much to pass.
"""

from __future__ import annotations

from collections.abc import Callable

from aiki.clock import SYSTEM

DIALECTS: dict[str, dict[str, str]] = {
    "sqlite": {
        "id": "printf('0{prefix}000000-0000-7000-8000-%012d', n)",
        "bytes": "X'7B7D'",
    },
    "postgresql": {
        "id": "'0{prefix}000000-0000-7000-8000-' || lpad(n::text, 12, '0')",
        "bytes": "'{{}}'::bytea",
    },
    "mysql": {
        "id": "concat('0{prefix}000000-0000-7000-8000-', lpad(n, 12, '0'))",
        "bytes": "X'7B7D'",
    },
}
FIRST_INSTANT = SYSTEM.wall() - 3_600_000
"""When the oldest run was created; each next one a millisecond later. None is to be deleted yet."""

BATCH = 100_000
_DIGITS = "(" + " UNION ALL ".join(f"SELECT {d} AS d" for d in range(10)) + ")"
_PLACES = "abcef"
_SUM = " + ".join(f"{10**power} * {place}.d" for power, place in enumerate(_PLACES))
_NUMBERS = (
    f"(SELECT {{low}} + {_SUM} AS n FROM "
    + ", ".join(f"{_DIGITS} AS {place}" for place in _PLACES)
    + f" WHERE {_SUM} <= {{high}} - {{low}}) AS numbers"
)

# What is rare stands at the old end: a list that begins with the newest has all others before it.
_RUN = """
INSERT INTO run (id, namespace, workflow, version, shard, priority, reference_id, parent_id,
    parent_attempt, digest, options, created_at, status, revision, attempt, epoch, holder,
    claim_id, losses, alone_losses, pause_requested, stop_cause, stop_delivered, retry_pending,
    due_at, deadline_at, grace_until, started_at, ended_at, command_id, fingerprint, wake_at)
SELECT {id}, CASE WHEN n % 3 = 0 THEN 'other' ELSE 'default' END,
    CASE WHEN n < 20 THEN 'rare' ELSE 'orders' END, CASE WHEN n < 20 THEN '0.9' ELSE '1.0' END,
    CASE WHEN n < 20 THEN 'far' ELSE '' END, 0,
    CASE WHEN n % 20 = 0 THEN {id} END, CASE WHEN n % 20 = 1 THEN {parent} END, 0, 'd', {bytes},
    {first} + n, CASE WHEN n % 20 = 7 THEN 'failed' WHEN n % 20 = 9 THEN 'cancelled'
    ELSE 'completed' END, 2, 1, 1, 'gone', 'c', 0, 0, FALSE, NULL, FALSE, FALSE, NULL, NULL, NULL,
    {first} + n, {first} + n + 5, NULL, 'source-1', NULL
FROM {numbers}"""
_READY = """
INSERT INTO run (id, namespace, workflow, version, shard, priority, reference_id, parent_id,
    parent_attempt, digest, options, created_at, status, revision, attempt, epoch, holder,
    claim_id, losses, alone_losses, pause_requested, stop_cause, stop_delivered, retry_pending,
    due_at, deadline_at, grace_until, started_at, ended_at, command_id, fingerprint, wake_at)
SELECT {ready}, 'default', 'unserved', '1.0', '', 0, NULL, NULL, 0, 'd', {bytes}, {first} + n,
    'queued', 0, 1, 0, NULL, NULL, 0, 0, FALSE, NULL, FALSE, FALSE, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL
FROM {numbers} WHERE n % 10 = 0"""
_OTHERS = (
    """INSERT INTO outbox (run_id, namespace, workflow, version, shard, priority, ready_at, alone,
        fingerprint, prefers{queue_column})
    SELECT {ready}, 'default', 'unserved', '1.0', '', 0, {first} + n, FALSE, NULL, NULL{queue}
    FROM {numbers} WHERE n % 10 = 0""",
    """INSERT INTO run_payload (run_id, kind, value) SELECT {id}, 'input', {bytes}
    FROM {numbers}""",
    """INSERT INTO run_payload (run_id, kind, value)
    SELECT {id}, CASE WHEN n % 20 = 7 OR n % 20 = 9 THEN 'failure' ELSE 'output' END, {bytes}
    FROM {numbers}""",
    """INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch, worker)
    SELECT {id}, 0, 'queued', 'new', {first} + n, 1, 0, NULL FROM {numbers}""",
    """INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch, worker)
    SELECT {id}, 1, 'running', 'claimed', {first} + n, 1, 1, 'gone' FROM {numbers}""",
    """INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch, worker)
    SELECT {id}, 2, CASE WHEN n % 20 = 7 THEN 'failed' WHEN n % 20 = 9 THEN 'cancelled'
    ELSE 'completed' END, 'returned', {first} + n + 5, 1, 1, 'gone' FROM {numbers}""",
    """INSERT INTO entry (run_id, attempt, number, kind, address, ordinal, at, name, value,
        failure, fact_id, due_at, task_attempt, started_at, epoch, arguments)
    SELECT {id}, 1, 1, 'task', 'x', 0, {first} + n, 'x', {bytes}, NULL, NULL, NULL, 1,
        {first} + n, 1, NULL FROM {numbers}""",
    """INSERT INTO task_attempt (run_id, attempt, address, ordinal, number, name, status,
        started_at, ended_at, due_at, failure, epoch, at_most_once)
    SELECT {id}, 1, 'x', 0, 1, 'x', 'completed', {first} + n, {first} + n, NULL, NULL, 1, FALSE
    FROM {numbers}""",
    """INSERT INTO fact (id, run_id, kind, name, at, value, failure, {key}, consumed_by,
        consumed_attempt)
    SELECT {fact}, {id}, 'event', 'paid', {first} + n, {bytes}, NULL, NULL, 1, 1
    FROM {numbers} WHERE n % 5 = 0""",
    """INSERT INTO child (parent_id, parent_attempt, {key}, child_id)
    SELECT {parent}, 1, 'c', {id} FROM {numbers} WHERE n % 20 = 1""",
    """INSERT INTO dead_letter (id, namespace, run_id, reason, at, detail)
    SELECT {id}, 'other', {id}, 'poison', {first} + n, '' FROM {numbers} WHERE n % 20 = 7""",
    """INSERT INTO answer (namespace, command_id, at, answer)
    SELECT 'default', {id}, {now}, {bytes} FROM {numbers} WHERE n % 20 = 0""",
    """INSERT INTO audit (id, at, namespace, principal, operation, object_id, detail)
    SELECT {id}, {first} + n, 'default', 'local', 'StartRuns', {id}, '' FROM {numbers}""",
)


def id_of(number: int) -> str:
    """The id of the run that bears this number."""
    return f"01000000-0000-7000-8000-{number:012}"


def statements(kind: str, low: int, high: int, now: int) -> list[str]:
    """What makes the runs from `low` to `high`."""
    dialect = DIALECTS[kind]
    fields = {
        "id": dialect["id"].format(prefix=1),
        "parent": dialect["id"].format(prefix=2),
        "fact": dialect["id"].format(prefix=3),
        "ready": dialect["id"].format(prefix=4),
        "bytes": dialect["bytes"].format(),
        "first": str(FIRST_INSTANT),
        "now": str(now),
        "key": "`key`" if kind == "mysql" else "key",
        # Claims find a queue by the hash of its names; of this one nobody makes it.
        "queue_column": ", queue" if kind == "mysql" else "",
        "queue": f", X'{'00' * 32}'" if kind == "mysql" else "",
        "numbers": _NUMBERS.replace("{low}", str(low)).replace("{high}", str(high)),
    }
    return [sql.format(**fields) for sql in (_RUN, _READY, *_OTHERS)]


def fill(kind: str, execute: Callable[[str], object], low: int, high: int, now: int) -> None:
    """Make the runs from `low` to `high`, a batch at a time."""
    for start in range(low, high + 1, BATCH):
        for sql in statements(kind, start, min(high, start + BATCH - 1), now):
            execute(sql)
