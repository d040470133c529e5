"""The state machine of runs and of task attempts: pure, with every legal transition in one table.

`decide(state, command, now)` answers the next state and the reason of the transition, or no reason
where the state changes without one (a record, a request that is only noted). `LEGAL` lists, for
each command and status, where it may lead and why; a command that is not listed for a status is an
`InvalidTransition` and changes nothing. The rows T1 to T21 are named in `docs/state-machine.md`.
"""

from aiki.machine.commands import (
    Admit,
    Claim,
    Command,
    Complete,
    Diverge,
    Due,
    EndGrace,
    Fail,
    Park,
    Pause,
    Reconsider,
    Record,
    Recover,
    Redeliver,
    Release,
    RequestStop,
    Resume,
    RetryRun,
    Stall,
    Terminate,
    Untangle,
    Wake,
)
from aiki.machine.decisions import (
    ALONE_AFTER_LOSSES,
    DEAD_LETTER_AFTER,
    LEGAL,
    TASK_LEGAL,
    Decided,
    decide,
    is_alone,
    wake_at,
)

__all__ = [
    "ALONE_AFTER_LOSSES",
    "DEAD_LETTER_AFTER",
    "LEGAL",
    "TASK_LEGAL",
    "Admit",
    "Claim",
    "Command",
    "Complete",
    "Decided",
    "Diverge",
    "Due",
    "EndGrace",
    "Fail",
    "Park",
    "Pause",
    "Reconsider",
    "Record",
    "Recover",
    "Redeliver",
    "Release",
    "RequestStop",
    "Resume",
    "RetryRun",
    "Stall",
    "Terminate",
    "Untangle",
    "Wake",
    "decide",
    "is_alone",
    "wake_at",
]
