"""Laws of canonical form 1, and the golden vectors that pin it.

The file `canonical-form-1.json` is forever: recorded runs hold hashes of these very bytes. A vector
may be added; if one of them fails, the code is wrong. Another form gets another number and file.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from aiki.errors import LimitExceeded, PayloadError
from aiki.model import limits
from aiki.workflow import canonical
from aiki.workflow.canonical import encode

VECTORS = json.loads(Path(__file__).with_name("canonical-form-1.json").read_text())


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int = 2
    z: int = 3


@dataclasses.dataclass
class Line:
    sku: str
    quantity: int = 1
    notes: list[str] = dataclasses.field(default_factory=list)
    marks: list[str] = dataclasses.field(default_factory=lambda: ["new"])


@dataclasses.dataclass
class Order:
    lines: list[Line]
    first: Line = dataclasses.field(default_factory=lambda: Line("none"))


class Card(msgspec.Struct, tag=True, rename="camel"):
    card_number: str
    valid_until: date | None = None


class Move(msgspec.Struct, tag_field="$kind", tag="move"):
    x: int = 0


class Pair(msgspec.Struct, array_like=True, tag="pair"):
    a: int
    b: int = 2
    c: int = 3


class Model(BaseModel):
    id: str
    total: Decimal = Decimal(0)
    tags: set[str] = set()
    lines: list[Line] = Field(default_factory=list)
    extra: Any = None
    nick: str = Field(default="", alias="nickName")


NIGERIA = timezone(timedelta(hours=1))

VALUES: dict[str, object] = {
    "null": None,
    "booleans": [True, False],
    "integers": [0, -1, 2**53, -(2**53)],
    "integers beyond 2^53": [2**53 + 1, -(2**53) - 1, 10**40],
    "floats": [0.0, -0.0, 1.0, 0.1, 1e22, 1e-7, 5e-324, 1.7976931348623157e308],
    "text": ["", 'quote " backslash \\ slash /', "\x00\x01\b\t\n\f\r\x1f\x7f", "é 字 🙂 \u2028"],
    "keys by code point": {"b": 1, "a": 2, "B": 3, "": 4, "\uffff": 5, "\U0001f642": 6},
    "keys with dollars": {"$int": "5", "$$": 1, "$": 2, "a$": 3},
    "keys that are no text": {7: 1, Colour.RED: 2, UUID(int=1): 3, date(2024, 2, 29): 4},
    "decimals": [Decimal("1.50"), Decimal("-0"), Decimal("1E+5"), Decimal("1E-10")],
    "instants": [
        datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        datetime(2024, 2, 29, 0, 30, 0, 1, tzinfo=NIGERIA),
        datetime(1, 1, 1, tzinfo=UTC),
    ],
    "local times": [datetime(2024, 2, 29, 12, 30), datetime(2024, 2, 29, 12, 30, 1, 500_000)],
    "dates and times": [
        date(2024, 2, 29), time(12, 30), time(1, 2, 3, 4, tzinfo=UTC), time(1, tzinfo=NIGERIA)
    ],
    "spans": [
        timedelta(0), timedelta(days=2, seconds=3, microseconds=40), timedelta(microseconds=-1),
        timedelta.min, timedelta.max,
    ],
    "uuid and bytes": [UUID(int=2**127 + 5), b"", b"\x00\xff", bytearray(b"abc")],
    "enums": [Colour.RED, Level.HIGH],
    "sets": [set(), {3, 20, 100}, frozenset({"b", "a"}), {(2, 1), (1, 2)}],
    "arrays": [[1, [2]], (1, (2,))],
    "named tuples": [Point(1), Point(1, 5), Point(1, 2, 5)],
    "dataclasses": [Line("a"), Line("a", 2, ["x"], []), Order([Line("b")])],
    "structs": [Card("1"), Card("1", date(2030, 1, 1)), Move(), Move(4)],
    "array-like structs": [Pair(1), Pair(1, 5), Pair(1, 2, 5)],
    "pydantic models": [
        Model(id="1"),
        Model(id="1", total=Decimal("2.50"), tags={"b", "a"}, nickName="n", extra={"$a": 2**60}),
    ],
}  # fmt: skip

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.decimals(allow_nan=False, allow_infinity=False) | st.binary() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$int"), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_vector(vector: dict[str, str]) -> None:
    data = encode(VALUES[vector["name"]])
    assert data.decode() == vector["canonical"]
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]


def test_every_value_has_its_vector() -> None:
    assert canonical.FORM == 1
    assert [vector["name"] for vector in VECTORS] == list(VALUES)


@given(plain)
def test_canonical_bytes_are_json(value: object) -> None:
    data = encode(value)
    assert encode(value) == data
    assert json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":")) == data.decode()


keys = st.text().filter(lambda key: not key.isdigit()) | st.integers(0, 9)


@given(st.dictionaries(keys, plain, max_size=6), st.randoms())
def test_the_order_of_keys_changes_nothing(value: dict[Any, object], chance: random.Random) -> None:
    items = list(value.items())
    chance.shuffle(items)
    assert encode(dict(items)) == encode(value)


@given(st.lists(st.text() | st.integers() | st.tuples(st.integers(), st.text())), st.randoms())
def test_the_order_of_a_set_changes_nothing(members: list[Any], chance: random.Random) -> None:
    shuffled = members.copy()
    chance.shuffle(shuffled)
    assert encode(set(shuffled)) == encode(set(members)) == encode(frozenset(shuffled))
    assert encode([Model(id="a", extra=set(shuffled))]) == encode(
        [Model(id="a", extra=set(members))]
    )


@given(st.datetimes(timezones=st.timezones()))
def test_an_instant_has_one_form_in_every_zone(when: datetime) -> None:
    try:
        utc = when.astimezone(UTC)
    except OverflowError:
        with pytest.raises(PayloadError, match="outside the years"):
            encode(when)
    else:
        assert encode(when) == encode(utc)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        (Line("a"), Line("a", quantity=1, notes=[], marks=["new"])),
        (Order([]), Order([], first=Line("none", 1))),
        (Card("1"), Card("1", valid_until=None)),
        (Pair(1), Pair(1, 2, 3)),
        (Point(1), Point(1, 2, 3)),
        (Model(id="1"), Model(id="1", total=Decimal(0), tags=set(), lines=[], nickName="")),
    ],
)
def test_a_field_equal_to_its_default_changes_nothing(short: object, full: object) -> None:
    assert encode(short) == encode(full)


def test_equal_in_python_is_not_equal_enough() -> None:
    """True == 1 == 1.0, but a reader would get another value back."""
    assert encode(Line("a", quantity=True)) == b'{"quantity":true,"sku":"a"}'
    assert encode(Pair(1, 2, 3.0)) == b'["pair",1,2,3.0]'  # type: ignore[arg-type]


def test_a_factory_that_changes_is_no_default() -> None:
    @dataclasses.dataclass
    class Visit:
        day: date = dataclasses.field(default_factory=date.today)
        chance: float = dataclasses.field(default_factory=random.random)
        broken: int = dataclasses.field(default_factory=lambda: 1 // 0)

    today = date.today()
    assert json.loads(encode(Visit(today, 0.5, 1))) == {
        "day": today.isoformat(), "chance": 0.5, "broken": 1
    }  # fmt: skip


def test_unset_fields_are_left_out() -> None:
    class Patch(msgspec.Struct):
        name: str | msgspec.UnsetType = msgspec.UNSET

    assert encode(Patch()) == b"{}"
    assert encode(Patch("a")) == b'{"name":"a"}'


class Keeper:
    """No data class at all."""


@dataclasses.dataclass
class Half:
    name: str = dataclasses.field(init=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"lines": [1, {"x": math.nan}]}, "order.lines[1].x: NaN"),
        ([math.inf], "order[0]: Infinity"),
        ({"a b": -math.inf}, "order['a b']: -Infinity"),
        ({"$a": [math.nan]}, "order['$a'][0]: NaN"),
        (Order([Line("a"), Line("b", notes=[math.nan])]), "order.lines[1].notes[0]: NaN"),  # type: ignore[list-item]
        ([Decimal("NaN")], "order[0]: Decimal NaN"),
        ([Decimal("-Infinity")], "order[0]: Decimal -Infinity"),
        ([Model(id="1", extra=[math.nan])], "order[0].extra[0]: NaN"),
        ({"lines": ["ok", "\ud800"]}, "order.lines[1]: a lone surrogate"),
        ([{"\udfff": 1}], "order[0]['\\udfff']: a lone surrogate"),
        ({"$a": ["\ud800"]}, "order['$a'][0]: a lone surrogate"),
        ({"lines": [Keeper()]}, f"order.lines[0]: {__name__}.Keeper cannot be encoded; use"),
        ({"x": {(1, 2): 3}}, "order.x[(1, 2)]: tuple cannot be a key"),
        ({None: 1}, "order[None]: NoneType cannot be a key"),
        ({True: 1}, "order[True]: bool cannot be a key"),
        ({1: 1, "1": 2}, "order['1']: two keys"),
        ([10**5000], "order[0]: this integer has too many digits"),
        ([Half()], "order[0]: its field name has no value"),
        (complex(1, 2), "order: complex cannot be encoded"),
    ],
)
def test_what_has_no_form_is_refused_by_path(value: object, message: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(value, "order")
    assert caught.value.message.startswith(message)


def nested(levels: int) -> object:
    value: object = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return value


def test_depth_is_limited() -> None:
    encode(nested(limits.PAYLOAD_DEPTH))
    with pytest.raises(LimitExceeded, match="nested more than 64 levels"):
        encode(nested(limits.PAYLOAD_DEPTH + 1))


def test_a_cycle_is_a_limit_not_a_crash() -> None:
    array: list[object] = []
    array.append(array)
    mapping: dict[str, object] = {}
    mapping["a"] = [mapping]
    line = Line("a")
    line.notes.append(line)  # type: ignore[arg-type]
    model = Model(id="1")
    model.extra = [model]
    for value in (array, mapping, line, model):
        with pytest.raises(LimitExceeded, match=r"contains itself|Circular"):
            encode(value)


def test_size_is_limited() -> None:
    encode("x" * (limits.PAYLOAD_BYTES - 2))
    with pytest.raises(LimitExceeded, match="order: takes 2097153 bytes, the limit is 2097152"):
        encode("x" * (limits.PAYLOAD_BYTES - 1), "order")
