"""What any database must hold after any storm, when every run has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.differential.invariants import broken
from tests.differential.stores import look_at

RECORDS = {
    "a call has one entry": """
        SELECT run_id, attempt, address, ordinal FROM entry
        GROUP BY run_id, attempt, address, ordinal HAVING count(*) > 1""",
    "entries have no gaps": """
        SELECT run_id FROM entry GROUP BY run_id, attempt
        HAVING max(number) <> count(*) OR min(number) <> 1""",
    "epochs never go back": """
        SELECT run_id FROM (
            SELECT run_id, epoch, lag(epoch) OVER (PARTITION BY run_id, attempt ORDER BY number)
                AS old_epoch FROM entry) AS step
        WHERE old_epoch > epoch""",
    "everything ended": """
        SELECT id FROM run WHERE status <> 'completed'""",
    "nothing is ready, waits or is open": """
        SELECT run_id FROM outbox UNION ALL SELECT run_id FROM wait
        UNION ALL SELECT run_id FROM task_attempt WHERE status = 'running'""",
    "one ending a run": """
        SELECT run_id FROM transition WHERE status IN ('completed', 'failed', 'cancelled')
        GROUP BY run_id HAVING count(*) <> 1""",
    "an event is taken once": """
        SELECT fact_id FROM entry WHERE fact_id IS NOT NULL
        GROUP BY fact_id HAVING count(*) > 1""",
    "a child is started once": """
        SELECT parent_id, key FROM child GROUP BY parent_id, key HAVING count(*) > 1""",
    "timers are never early": """
        SELECT run_id FROM entry WHERE kind = 'timer' AND at < due_at""",
}


def recoveries(path: Path) -> int:
    """Check the records; answers how often a run was taken from a worker that died."""
    loop = asyncio.new_event_loop()
    look = look_at(path, loop)
    try:
        for name, query in RECORDS.items():
            assert look.rows(query) == [], name
        assert broken(look) == {}
        ((count,),) = look.rows("SELECT count(*) FROM transition WHERE reason = 'recovered'")
    finally:
        look.close()
        loop.close()
    return int(count)
