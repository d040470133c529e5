"""Laws of codecs: what was encoded is decoded alike; what never could be is refused, by path."""

from __future__ import annotations

import collections
import dataclasses
import enum
import io
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from aiki.errors import DefinitionError, PayloadError
from aiki.workflow.codec import codec_for

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    MONEY = "$"


class Level(enum.IntEnum):
    LOW = 1
    HUGE = 2**60


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Address(TypedDict):
    street: str
    number: NotRequired[int]


class Card(msgspec.Struct, tag="card", tag_field="$kind", rename="camel"):
    card_number: str
    valid_until: date | None = None


class Transfer(msgspec.Struct, tag="transfer", tag_field="$kind"):
    iban: str


class Line(BaseModel):
    sku: str
    price: Decimal = Decimal(0)
    tags: frozenset[str] = frozenset()
    count: int = 1


@dataclasses.dataclass
class Order:
    id: UUID
    lines: list[Line]
    address: Address
    pay: Card | Transfer
    where: Point | None = None
    colours: set[Colour] = dataclasses.field(default_factory=set)
    spans: dict[str, timedelta] = dataclasses.field(default_factory=dict)
    parent: Order | None = None


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


UserId = NewType("UserId", int)

text = st.text(max_size=8) | st.sampled_from(["\x00", "a\x00b", "$", "$$int", "$int", '"$'])
lines = st.builds(
    Line,
    sku=text,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    tags=st.frozensets(text, max_size=3),
    count=st.integers(),
)
pays = st.builds(Card, text, st.none() | st.dates()) | st.builds(Transfer, text)
points = st.builds(Point, st.integers(), st.floats(allow_nan=False, allow_infinity=False))
addresses = st.fixed_dictionaries({"street": text}, optional={"number": st.integers()})
orders: st.SearchStrategy[Order] = st.builds(
    Order,
    st.uuids(),
    st.lists(lines, max_size=2),
    addresses,
    pays,
    st.none() | points,
    st.sets(st.sampled_from(Colour)),
    st.dictionaries(text, st.timedeltas(), max_size=2),
    st.none(),
)
families = orders | st.builds(dataclasses.replace, orders, parent=orders)

TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (type(None), st.none()),
    (bool, st.booleans()),
    (int, st.integers() | st.integers(2**53 - 2, 2**70)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, text),
    (bytes, st.binary()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (datetime, st.datetimes() | st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times() | st.times(timezones=st.just(UTC))),
    (timedelta, st.timedeltas()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (UserId, st.integers()),
    (Literal["a", "$", 3], st.sampled_from(["a", "$", 3])),
    (list[int | str | None], st.lists(st.integers() | text | st.none())),
    (tuple[int, ...], st.lists(st.integers()).map(tuple)),
    (tuple[int, str], st.tuples(st.integers(), text)),
    (set[UUID], st.sets(st.uuids())),
    (frozenset[int], st.frozensets(st.integers())),
    (dict[str, int], st.dictionaries(text, st.integers())),
    (dict[int, str], st.dictionaries(st.integers(), text)),
    (dict[UUID, Colour], st.dictionaries(st.uuids(), st.sampled_from(Colour))),
    (dict[Colour, bytes], st.dictionaries(st.sampled_from(Colour), st.binary())),
    (dict[datetime, int], st.dictionaries(st.datetimes(timezones=st.just(UTC)), st.integers())),
    (dict[float, int], st.dictionaries(st.floats(-1e9, 1e9), st.integers())),
    (Point, points),
    (Address, addresses),
    (Card | Transfer, pays),
    (Line, lines),
    (Line | None, st.none() | lines),
    (RootModel[list[int]], st.builds(RootModel[list[int]], st.lists(st.integers()))),
    (Box[Line], st.builds(Box, lines)),
    (Order, families),
    (list[dict[str, Order]], st.lists(st.dictionaries(text, families, max_size=2), max_size=2)),
    (Any, st.recursive(text | st.integers(), lambda x: st.lists(x) | st.dictionaries(text, x))),
    (object, st.recursive(text | st.integers(), lambda x: st.lists(x) | st.dictionaries(text, x))),
]


@pytest.mark.parametrize(("annotation", "values"), TYPES, ids=[str(each[0]) for each in TYPES])
@given(st.data())
def test_decoding_gives_back_what_was_encoded(
    annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = data.draw(values)
    codec = codec_for(annotation, "value")
    again = codec.decode(codec.encode(value))
    assert again == value
    assert type(again) is type(value)
    assert codec.encode(again) == codec.encode(value)


class Bad:
    class Handle:
        """Nothing that could be written."""

    @dataclasses.dataclass
    class Line:
        handle: socket.socket

    @dataclasses.dataclass
    class Order:
        lines: list[Bad.Line]

    class Struct(msgspec.Struct):
        by_name: dict[str, Bad.Order]

    class Dict(TypedDict):
        opened: NotRequired[io.BytesIO]

    class Tuple(NamedTuple):
        first: int
        lock: threading.Thread

    @dataclasses.dataclass
    class Tree:
        children: list[Bad.Tree]
        hook: Callable[[], int] | None

    @dataclasses.dataclass
    class Unresolved:
        what: Nowhere  # type: ignore[name-defined]  # noqa: F821

    @dataclasses.dataclass
    class Ambiguous:
        when: datetime | str

    class Odd(enum.Enum):
        HALF = 0.5


def refusal(annotation: object) -> str:
    with pytest.raises(DefinitionError) as caught:
        codec_for(annotation, "order")
    return caught.value.message


@pytest.mark.parametrize(
    ("annotation", "start"),
    [
        (socket.socket, "order: socket.socket cannot be encoded; use a JSON value"),
        (Bad.Order, "order.lines[].handle: socket.socket cannot be encoded; use"),
        (Bad.Struct, "order.by_name[].lines[].handle: socket.socket cannot"),
        (list[Bad.Dict], "order[].opened: _io.BytesIO cannot be encoded"),
        (dict[str, Bad.Tuple], "order[].lock: threading.Thread cannot be encoded"),
        (Bad.Tree, "order.hook: collections.abc.Callable[[], int] cannot be encoded"),
        (Bad.Unresolved, f"order: {__name__}.Bad.Unresolved cannot be encoded: name 'Nowhere' is"),
        (Bad.Ambiguous, "order.when: datetime.datetime | str cannot be encoded: Type unions may"),
        (Bad.Odd, f"order: {__name__}.Bad.Odd cannot be encoded: Enums must"),
        (tuple[int, complex], "order[1]: complex cannot be encoded"),
        (tuple[complex, ...], "order[]: complex cannot be encoded"),
        (dict[tuple[int, int], str], "order: tuple[int, int] cannot be a key; use str"),
        (int | range | None, "order: range cannot be encoded"),
        (Box[Bad.Handle], f"order.inside: {__name__}.Bad.Handle cannot be encoded"),
        (Box[list[tzinfo]], "order.inside[]: datetime.tzinfo cannot be encoded"),
        (Annotated[list[Exception], "meta"], "order[]: Exception cannot be encoded"),
        (NewType("Id", complex), "order: complex cannot be encoded"),
        (Iterator[int], "order: collections.abc.Iterator[int] cannot be encoded"),
        (collections.deque[int], "order: collections.deque[int] cannot be encoded"),
        (Line | Order, f"order: {__name__}.Line | {__name__}.Order cannot be encoded: Type unions"),
        (Card | Point | list[int], "order: "),
        (dict[str, msgspec.Raw], "order[]: msgspec.Raw cannot be encoded; use Any or bytes"),
        ("Order", "order: Order cannot be encoded"),
    ],
)
def test_a_type_without_form_is_refused_by_path(annotation: object, start: str) -> None:
    assert refusal(annotation).startswith(start)


def test_a_refusal_says_the_way_out() -> None:
    assert "outside of TYPE_CHECKING" in refusal(Bad.Unresolved)
    assert "msgspec.Struct with tag=True" in refusal(Line | Order)


@pytest.mark.parametrize(
    ("annotation", "data", "message"),
    [
        (int, b'"1"', "order: expected `int`, got `str`"),
        (Order, b'{"id":1}', "order.id: expected `uuid`, got `int`"),
        (list[Point], b'[[1],["x"]]', "order[1][0]: expected `int`, got `str`"),
        (dict[str, Address], b'{"a":{}}', "order[]: object missing required field `street`"),
        (dict[str, Address], b'{"$a":{}}', "order[]: object missing required field `street`"),
        (Line, b'{"sku":1}', "order.sku: Input should be a valid string"),
        (Line, b'{"sku":["$"]}', "order.sku: Input should be a valid string"),
        (list[Line], b'[{"sku":1}]', "order[0].sku: Input should be a valid string"),
        (list[Line], b'[{"sku":["$"]}]', "order[0].sku: Input should be a valid string"),
        (None, b"1", "order: expected `null`, got `int`"),
        (Any, b"{", "order: Input data was truncated"),
        (Any, b"\xff", "order: JSON is malformed"),
        (Any, b'{"$int":"x"}', "order: invalid literal for int()"),
        (Any, b"[" * 100_000, "order: maximum recursion depth"),
    ],
)
def test_bytes_of_another_type_are_refused_by_path(
    annotation: Any, data: bytes, message: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        codec_for(annotation, "order").decode(data)
    assert caught.value.message.lower().startswith(message.lower())


def test_no_error_repeats_the_payload() -> None:
    for data in (b'{"sku":["secret"]}', b'{"sku":["secret$"],"x":"$"}'):
        with pytest.raises(PayloadError) as caught:
            codec_for(list[Line], "order").decode(b"[" + data + b"]")
        assert "secret" not in caught.value.message


def test_an_encoding_error_names_the_path() -> None:
    with pytest.raises(PayloadError, match=r"^order\.a\[0\]: NaN"):
        codec_for(Any, "order").encode({"a": [float("nan")]})


def test_nothing_is_a_type_too() -> None:
    codec = codec_for(None, "result")
    assert codec.decode(codec.encode(None)) is None
    assert codec.schema() == {"type": "null"}


def test_a_codec_is_made_once() -> None:
    assert codec_for(list[Order], "a") is codec_for(list[Order], "a")
    unhashable = Annotated[int, ["no", "hash"]]
    assert codec_for(unhashable, "a").decode(b"1") == 1


class Node(BaseModel):
    children: list[Node] = []


def test_a_schema_stands_by_itself() -> None:
    schema = codec_for(dict[str, Order], "order").schema()
    assert schema["type"] == "object"
    names = set(schema["$defs"])
    assert {"Order", "Card", "Transfer", "Point", "Address"} <= names
    schema = codec_for(list[Node], "nodes").schema()
    assert schema["items"] == {"$ref": "#/$defs/Node.Node"}
    assert set(schema["$defs"]) == {"Node.Node"}
