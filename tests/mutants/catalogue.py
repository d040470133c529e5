"""The mutants: one line of the engine each, made wrong, and the tests that must notice.

They stand for the faults of durable engines: a missing fence, a lost wake-up, a timer that fires
early, an effect before its record. Three kinds of the design's list have no place here yet: groups
and acknowledgements of a queue service (there is none), a repeat of what is not safe to repeat
(every operation that changes something is), and a cursor by id (nothing is read by one but lists).
"""

from __future__ import annotations

from tests.mutants.claims import FENCES, RECOVERY
from tests.mutants.ends import COMMITS, STOPS
from tests.mutants.facts import REPEATS, WAKING
from tests.mutants.mutant import Mutant
from tests.mutants.replays import EFFECTS, REPLAY

MUTANTS: tuple[Mutant, ...] = (
    *FENCES,
    *RECOVERY,
    *WAKING,
    *REPEATS,
    *STOPS,
    *COMMITS,
    *REPLAY,
    *EFFECTS,
)
