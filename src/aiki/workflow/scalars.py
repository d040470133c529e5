"""Scalars: the texts of plain values in canonical form 1, and why some have none."""

from __future__ import annotations

import base64
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from uuid import UUID

from aiki.errors import LimitExceeded, PayloadError

EXACT = 2**53
"""Integers beyond are tagged: not every JSON reader keeps them."""


class Refused(Exception):
    """A value without canonical form, collecting the way to it from the inside out."""

    def __init__(self, reason: str, error: type[PayloadError | LimitExceeded] = PayloadError):
        super().__init__(reason)
        self.error = error
        self.steps: list[object] = []


def write_string(value: str, room: int) -> str:
    return encode_basestring(value)


def write_boolean(value: bool, room: int) -> str:
    return "true" if value else "false"


def write_integer(value: int, room: int) -> str:
    if -EXACT <= value <= EXACT:
        return int.__repr__(value)
    try:
        return f'{{"$int":"{int.__repr__(value)}"}}'
    except ValueError:  # Python's own guard: sys.set_int_max_str_digits
        raise Refused("this integer has too many digits; send it as bytes") from None


def write_float(value: float, room: int) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    raise Refused(f"{name} is no JSON number; use None or a string")


def write_decimal(value: Decimal, room: int) -> str:
    if value.is_finite():
        return f'"{value}"'
    raise Refused(f"Decimal {value} is no number; use None or a string")


def write_datetime(value: datetime, room: int) -> str:
    if value.utcoffset() is None:
        return f'"{value.replace(tzinfo=None).isoformat()}"'
    try:
        return f'"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"'
    except OverflowError:
        raise Refused(f"{value} lies outside the years 1 to 9999 in UTC") from None


def write_date(value: date, room: int) -> str:
    return f'"{value.isoformat()}"'


def write_time(value: time, room: int) -> str:
    if value.tzinfo is None:
        return f'"{value.isoformat()}"'
    offset = value.utcoffset()
    if offset is None:
        raise Refused(f"a time without a date has no offset in {value.tzinfo}; use a datetime")
    if offset.seconds % 60 or offset.microseconds:
        raise Refused("its offset is not in whole minutes; use a datetime")
    return f'"{value.isoformat()}"' if offset else f'"{value.replace(tzinfo=None).isoformat()}Z"'


def write_timedelta(value: timedelta, room: int) -> str:
    sign, span = ("-", -value) if value.days < 0 and value != timedelta.min else ("", value)
    if span.days < 0:  # its negation is out of Python's range
        return f'"-P{-span.days}D"'
    seconds = str(span.seconds) if span.seconds else ""
    if span.microseconds:
        seconds = f"{span.seconds}.{span.microseconds:06d}".rstrip("0")
    return f'"{sign}P{span.days}D{f"T{seconds}S" if seconds else ""}"'


def write_uuid(value: UUID, room: int) -> str:
    return f'"{value}"'


def write_bytes(value: bytes | bytearray | memoryview, room: int) -> str:
    return f'"{base64.b64encode(value).decode()}"'
