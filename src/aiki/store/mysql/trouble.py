"""Trouble: what an error of the driver means for the transaction that met it."""

from __future__ import annotations

import asyncio
import enum

from asyncmy.errors import DataError, InterfaceError, InternalError, MySQLError

from aiki.clock import SYSTEM, jitter
from aiki.errors import InvalidRequest, StoreUnavailable

_TRIES = 6
_RACES = 3
_LONGEST_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0
DRIVER_ERRORS = (OSError, MySQLError)
"""A deadline that passed is an `OSError` too."""


class Trouble(enum.Enum):
    """What to do about an error."""

    RACE = "another transaction was first with this key: look again"
    CONFLICT = "transactions stood in each other's way: the same again may succeed"
    LOST = "the connection is gone: the same again, on another"
    REFUSED = "the database cannot do it now"
    OURS = "the statement or its values are wrong: nothing helps"


_NUMBERS = {
    Trouble.RACE: (1062, 1586),
    # Lock waits, deadlocks, changed tables, a node of a cluster that is not ready.
    Trouble.CONFLICT: (1020, 1047, 1205, 1213, 1412, 1615),
    # Too many connections, shutdown, network, killed, idle for too long.
    Trouble.LOST: (
        1040, 1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1927,
        2002, 2003, 2006, 2012, 2013, 2014, 2055, 3032, 3168, 3169, 4031,
    ),
    # Disk full, out of memory, access, no such database, read-only, interrupted or timed out.
    Trouble.REFUSED: (
        1016, 1017, 1021, 1026, 1028, 1030, 1037, 1038, 1041, 1044, 1045, 1049, 1114, 1290, 1317,
        1698, 1792, 1836, 1969, 3024,
    ),
}  # fmt: skip
_TROUBLES = {number: trouble for trouble, numbers in _NUMBERS.items() for number in numbers}
_LEAST_OF_SERVER = 1000
_MISCONFIGURED = frozenset({1044, 1045, 1049, 1142, 1143, 1227, 1419, 1698})


def number_of(error: BaseException) -> int:
    """The server's number of an error; 0 where there is none."""
    number = error.args[0] if isinstance(error, MySQLError) and error.args else 0
    return number if isinstance(number, int) else 0


def trouble_of(error: BaseException) -> Trouble:
    """The kind of an error that the driver raised."""
    if isinstance(error, MySQLError):
        known = _TROUBLES.get(number_of(error))
        if known is not None:
            return known
        # What the driver itself finds wrong with a connection.
        lost = isinstance(error, InterfaceError | InternalError)
        lost = lost and number_of(error) < _LEAST_OF_SERVER
        return Trouble.LOST if lost else Trouble.OURS
    return Trouble.LOST if isinstance(error, OSError) else Trouble.OURS


def check_values(error: BaseException) -> None:
    """Raise `InvalidRequest` for what MySQL cannot keep: a number too large, a surrogate."""
    if isinstance(error, DataError | UnicodeEncodeError):
        raise InvalidRequest(
            f"a value of the request cannot be stored: {describe(error)}"
        ) from error


def is_unavailable(error: BaseException) -> bool:
    """Whether the same may succeed later."""
    return trouble_of(error) is not Trouble.OURS


def is_misconfigured(error: BaseException) -> bool:
    """Whether the URL itself is wrong: its user, its password, its database."""
    return number_of(error) in _MISCONFIGURED


def describe(error: BaseException) -> str:
    """The server's words, or what there is."""
    if isinstance(error, MySQLError) and len(error.args) > 1:
        return f"{error.args[1]} ({error.args[0]})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


class Retries:
    """The tries of one transaction: bounded in number and time, with growing pauses."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._end = SYSTEM.monotonic() + _LONGEST_SECONDS
        self._tries = 0

    async def pause(self, error: BaseException) -> None:
        """Wait before the next try; raises what the caller is told where there is none."""
        self._tries += 1
        trouble = trouble_of(error)
        if trouble in (Trouble.REFUSED, Trouble.OURS) or self._is_over(trouble):
            raise self.outcome(error) from error
        pause = min(_FIRST_PAUSE_SECONDS * 2.5**self._tries, _LONGEST_PAUSE_SECONDS)
        if trouble is Trouble.RACE:
            pause = _FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause * jitter(0.5))

    def _is_over(self, trouble: Trouble) -> bool:
        tries = _RACES if trouble is Trouble.RACE else _TRIES
        return self._tries >= tries or SYSTEM.monotonic() > self._end

    def outcome(self, error: BaseException) -> BaseException:
        """What the caller is told."""
        if trouble_of(error) in (Trouble.RACE, Trouble.OURS):
            return error
        return StoreUnavailable(f"{self._label}: {describe(error)}")
