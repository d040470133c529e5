"""Invariants of the database as SQL: each query answers the rows that break it, so none.

They are written so that every database understands them; `{now}` stands for the database's instant.

The numbers are those of the design's list. INV 1, 14 and 24 need a client's ledger, which the
oracle is; 8, 19 and 21 to 23 speak of sampled latencies, schedules, replay and queues.
"""

from __future__ import annotations

from aiki.machine import LEGAL
from tests.differential.stores import Look, Rows

_ALLOWED = sorted(
    {
        (before, after, reason)
        for by_status in LEGAL.values()
        for before, ends in by_status.items()
        for after, reason in ends
        if reason is not None
    }
)
_PAIRS = " UNION ALL ".join(
    f"SELECT '{before}' AS old_status, '{after}' AS new_status, '{why}' AS why"
    for before, after, why in _ALLOWED
)

INVARIANTS: dict[str, str] = {
    "INV 1: a reference names one run": """
        SELECT namespace, workflow, reference_id FROM run WHERE reference_id IS NOT NULL
        GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "INV 2: the status is that of the last transition": """
        SELECT r.id FROM run AS r LEFT JOIN transition AS t
        ON t.run_id = r.id AND t.revision = r.revision
        WHERE coalesce(t.status, '') <> r.status OR coalesce(t.attempt, 0) <> r.attempt
           OR coalesce(t.epoch, -1) <> r.epoch""",
    "INV 3: transitions follow the table": f"""
        WITH allowed AS ({_PAIRS}),
        step AS (SELECT run_id, revision, status, reason,
            lag(status) OVER (PARTITION BY run_id ORDER BY revision) AS old_status FROM transition)
        SELECT s.run_id, s.old_status, s.status, s.reason FROM step AS s LEFT JOIN allowed AS a
        ON a.old_status = s.old_status AND a.new_status = s.status AND a.why = s.reason
        WHERE CASE WHEN s.old_status IS NULL THEN s.reason <> 'new'
              ELSE a.old_status IS NULL END""",
    "INV 4: the revision counts the transitions": """
        SELECT r.id FROM run AS r
        WHERE r.revision <> (SELECT count(*) - 1 FROM transition WHERE run_id = r.id)
           OR r.revision <> (SELECT max(revision) FROM transition WHERE run_id = r.id)""",
    "INV 5: nothing follows an end": """
        SELECT r.id FROM run AS r JOIN transition AS t ON t.run_id = r.id
        WHERE t.status IN ('completed', 'failed', 'cancelled') AND t.revision < r.revision""",
    "INV 6: ready runs are offered, and no others": """
        SELECT r.id FROM run AS r LEFT JOIN outbox AS o ON o.run_id = r.id
        WHERE (r.status = 'queued') <> (o.run_id IS NOT NULL)
        UNION ALL SELECT run_id FROM outbox WHERE run_id NOT IN (SELECT id FROM run)""",
    "INV 7: nothing waits without a source that wakes it": """
        SELECT r.id FROM run AS r WHERE r.status = 'scheduled' AND r.due_at IS NULL
        UNION ALL
        SELECT r.id FROM run AS r WHERE r.status = 'waiting'
        AND NOT EXISTS (SELECT 1 FROM wait AS w WHERE w.run_id = r.id)
        UNION ALL
        SELECT r.id FROM run AS r WHERE r.status = 'waiting' AND coalesce(r.due_at, -1) <>
            coalesce((SELECT min(due_at) FROM wait AS w WHERE w.run_id = r.id), -1)
        UNION ALL
        SELECT r.id FROM run AS r WHERE r.status IN ('scheduled', 'waiting')
        AND r.due_at IS NOT NULL AND (r.wake_at IS NULL OR r.wake_at > r.due_at)
        UNION ALL
        SELECT r.id FROM run AS r WHERE r.status = 'running' AND r.holder IS NULL""",
    "INV 9: an attempt of a task has at most one end": """
        SELECT run_id FROM task_attempt WHERE status <> 'running' AND ended_at IS NULL
        AND status IN ('lost', 'discarded')""",
    "INV 10: epochs never fall, and only claims and ends from outside raise them": """
        WITH step AS (SELECT run_id, status, epoch,
            coalesce(lag(epoch) OVER (PARTITION BY run_id ORDER BY revision), 0) AS old_epoch
            FROM transition)
        SELECT run_id FROM step WHERE epoch < old_epoch
        OR (status = 'running' AND epoch <> old_epoch + 1)
        OR (status NOT IN ('running', 'failed', 'cancelled') AND epoch <> old_epoch)
        UNION ALL SELECT e.run_id FROM entry AS e JOIN run AS r ON r.id = e.run_id
        WHERE e.epoch > r.epoch""",
    "INV 11: a claim's epoch is one claim": """
        SELECT run_id FROM transition WHERE status = 'running'
        GROUP BY run_id, epoch HAVING count(*) > 1""",
    "INV 12: no event that is there is waited for": """
        SELECT r.id FROM run AS r JOIN wait AS w ON w.run_id = r.id
        JOIN fact AS f ON f.run_id = r.id AND f.kind = w.kind AND f.name = w.name
        WHERE r.status = 'waiting' AND f.consumed_by IS NULL
        UNION ALL
        SELECT r.id FROM run AS r JOIN fact AS f ON f.run_id = r.id AND f.kind = 'cancel'
        WHERE r.status = 'waiting' AND f.consumed_by IS NULL""",
    "INV 12: no child that has ended is waited for": """
        SELECT r.id FROM run AS r JOIN wait AS w ON w.run_id = r.id AND w.kind = 'child'
        JOIN run AS c ON c.id = w.name AND c.parent_id = r.id AND c.parent_attempt = r.attempt
        LEFT JOIN fact AS f ON f.run_id = r.id AND f.kind = 'child' AND f.name = c.id
        WHERE r.status = 'waiting' AND c.ended_at IS NOT NULL
        AND (f.id IS NULL OR f.consumed_by IS NULL)""",
    "INV 13: an event is taken by one entry that is there": """
        SELECT f.id FROM fact AS f LEFT JOIN entry AS e ON e.run_id = f.run_id
        AND e.attempt = f.consumed_attempt AND e.number = f.consumed_by
        WHERE f.consumed_by IS NOT NULL AND e.number IS NULL
        UNION ALL SELECT run_id FROM fact WHERE consumed_by IS NOT NULL
        GROUP BY run_id, consumed_attempt, consumed_by HAVING count(*) > 1""",
    "INV 14: a key is one event": """
        SELECT run_id FROM fact WHERE key IS NOT NULL
        GROUP BY run_id, name, key HAVING count(*) > 1""",
    "INV 15: a call starts one child, while its parent lives": """
        SELECT c.child_id FROM child AS c JOIN run AS r ON r.id = c.child_id
        WHERE coalesce(r.parent_id, '') <> c.parent_id OR r.parent_attempt <> c.parent_attempt
        UNION ALL SELECT child_id FROM child GROUP BY child_id HAVING count(*) > 1
        UNION ALL SELECT r.id FROM run AS r JOIN run AS p ON p.id = r.parent_id
        WHERE p.ended_at < r.created_at""",
    "INV 16: what was stopped has nothing open": """
        SELECT r.id FROM run AS r JOIN task_attempt AS t ON t.run_id = r.id
        WHERE r.status IN ('cancelled', 'failed') AND t.status = 'running'""",
    "INV 17: attempts are the retries plus one, and losses stay below the dead letter": """
        SELECT r.id FROM run AS r WHERE r.attempt + CASE WHEN r.retry_pending THEN 1 ELSE 0 END <>
            (SELECT count(*) + 1 FROM transition AS t
             WHERE t.run_id = r.id AND t.status = 'waiting' AND t.reason = 'retry')
        UNION ALL SELECT id FROM run WHERE alone_losses >= 3 AND status <> 'failed'""",
    "INV 18: an ended run waits for nothing, and no timer was early": """
        SELECT w.run_id FROM wait AS w JOIN run AS r ON r.id = w.run_id
        WHERE r.ended_at IS NOT NULL
        UNION ALL SELECT id FROM run WHERE ended_at IS NOT NULL AND wake_at IS NOT NULL
        UNION ALL SELECT run_id FROM entry WHERE due_at > {now}""",
    "INV 20: a family is of one namespace": """
        SELECT r.id FROM run AS r JOIN run AS p ON p.id = r.parent_id
        WHERE p.namespace <> r.namespace
        UNION ALL SELECT r.id FROM run AS r JOIN outbox AS o ON o.run_id = r.id
        WHERE o.namespace <> r.namespace""",
}


def broken(look: Look) -> dict[str, Rows]:
    """The invariants that do not hold, with rows that show it."""
    found = {name: look.rows(sql.replace("{now}", look.now)) for name, sql in INVARIANTS.items()}
    return {name: rows for name, rows in found.items() if rows}
