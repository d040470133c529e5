"""What any database must hold after any storm, when every run has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.differential.invariants import broken
from tests.differential.stores import look_at

RECORDS = {
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
