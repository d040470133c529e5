"""Trouble: what an error of the driver means for the transaction that met it."""

from __future__ import annotations

import asyncio
import enum

import asyncpg

from aiki.clock import SYSTEM, jitter
from aiki.errors import InvalidRequest, StoreUnavailable

_TRIES = 6
_RACES = 3
_LONGEST_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0
DRIVER_ERRORS = (
    OSError,
    EOFError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Trouble(enum.Enum):
    """What to do about an error."""

    RACE = "another transaction was first with this key: look again"
    CONFLICT = "transactions stood in each other's way: the same again may succeed"
    LOST = "the connection is gone: the same again, on another"
    REFUSED = "the database cannot do it now"
    OURS = "the statement or its values are wrong: nothing helps"


_EXACT = {
    "23505": Trouble.RACE,
    "40001": Trouble.CONFLICT,
    "40P01": Trouble.CONFLICT,
    "55P03": Trouble.CONFLICT,
    "25006": Trouble.REFUSED,
    "25P03": Trouble.LOST,
    "53300": Trouble.LOST,
    "57014": Trouble.REFUSED,
}
_CLASSES = {
    "08": Trouble.LOST,
    "28": Trouble.REFUSED,
    "3D": Trouble.REFUSED,
    "53": Trouble.REFUSED,
    "57": Trouble.LOST,
    "58": Trouble.REFUSED,
    "XX": Trouble.REFUSED,
}


def trouble_of(error: BaseException) -> Trouble:
    """The kind of an error that the driver raised."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # A migration changed what a prepared statement answers: on another connection it is new.
        return Trouble.LOST
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _EXACT.get(state) or _CLASSES.get(state[:2], Trouble.OURS)
    if isinstance(error, asyncpg.DataError):
        return Trouble.OURS
    # An internal error of the driver's: its session has heard of its end, and not yet met it.
    return Trouble.LOST if isinstance(error, DRIVER_ERRORS) else Trouble.OURS


def check_values(error: BaseException) -> None:
    """Raise `InvalidRequest` for what PostgreSQL cannot keep: a NUL, what is too large."""
    if isinstance(error, asyncpg.DataError | asyncpg.ProgramLimitExceededError):
        raise InvalidRequest(f"the request holds a value that cannot be stored: {error}") from error


def is_unavailable(error: BaseException) -> bool:
    """Whether the same may succeed later."""
    return trouble_of(error) is not Trouble.OURS


def is_misconfigured(error: BaseException) -> bool:
    """Whether the URL itself is wrong: its user, its password, its database, its form."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in ("28", "3D", "42")
    return isinstance(error, ValueError)


class Retries:
    """The tries of one transaction: bounded in number and time, with growing pauses."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._end = SYSTEM.monotonic() + _LONGEST_SECONDS
        self.tries = 0
        """So far; none is going on."""

    async def pause(self, error: BaseException) -> None:
        """Wait before the next try; raises what the caller is told where there is none."""
        self.tries += 1
        trouble = trouble_of(error)
        if trouble in (Trouble.REFUSED, Trouble.OURS) or self._is_over(trouble):
            raise self.outcome(error) from error
        if trouble is Trouble.CONFLICT and self.tries == 1:
            return
        pause = min(_FIRST_PAUSE_SECONDS * 2.5**self.tries, _LONGEST_PAUSE_SECONDS)
        if trouble is Trouble.RACE:
            pause = _FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause * jitter(0.5))

    def _is_over(self, trouble: Trouble) -> bool:
        tries = _RACES if trouble is Trouble.RACE else _TRIES
        return self.tries >= tries or SYSTEM.monotonic() > self._end

    def outcome(self, error: BaseException) -> BaseException:
        """What the caller is told."""
        if trouble_of(error) in (Trouble.RACE, Trouble.OURS):
            return error
        return StoreUnavailable(f"{self._label}: {error or type(error).__name__}")
