"""Laws of signatures: the arguments as passed, under their names, and back into the same call."""

from __future__ import annotations

import dataclasses
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from decimal import Decimal
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from aiki.errors import DefinitionError, LimitExceeded, PayloadError
from aiki.model import limits
from aiki.workflow.signature import Signature

if TYPE_CHECKING:
    from decimal import Context as Run


class Line(BaseModel):
    sku: str
    quantity: int = 1


@dataclasses.dataclass
class Job:
    handle: socket.socket


class Options(TypedDict, total=False):
    colour: str
    size: int


async def charge(card: str, amount: Decimal, *, key: str = "none") -> str:
    return f"{card}{amount}{key}"


def bare(a, b=2):  # type: ignore[no-untyped-def]
    return a, b


def everything(
    a: int, b: int = 2, /, c: int = 3, *rest: int, d: Line, e: int | None = 5, **more: str
) -> list[Line]:
    return [d]


def defaults(a: int = 1, b: int = 2, c: int = 3, *, d: int = 4) -> tuple[int, int, int, int]:
    return a, b, c, d


def options(*pair: *tuple[int, str], **given: Unpack[Options]) -> None: ...


def task(fn: Callable[..., Any]) -> Signature:
    return Signature.of(fn, skip_first=False, what=f"task {fn.__name__}")


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "data"),
    [
        (charge, ("c", Decimal("1.50")), {}, b'{"amount":"1.50","card":"c"}'),
        (charge, ("c",), {"amount": Decimal(1)}, b'{"amount":"1","card":"c"}'),
        (
            charge,
            (),
            {"key": "$", "amount": Decimal(1), "card": "c"},
            b'{"amount":"1","card":"c","key":"$"}',
        ),
        (charge, ("c", Decimal(1)), {"key": "none"}, b'{"amount":"1","card":"c","key":"none"}'),
        (bare, (1,), {}, b'{"a":1}'),
        (bare, ([1, {"$x": None}],), {"b": 2**60}, None),
        (defaults, (), {}, b"{}"),
        (defaults, (), {"c": 9}, b'{"c":9}'),
        (defaults, (1, 2, 3), {"d": 4}, b'{"a":1,"b":2,"c":3,"d":4}'),
        (everything, (1,), {"d": Line(sku="x")}, b'{"a":1,"d":{"sku":"x"}}'),
        (
            everything,
            (1, 2, 3, 4, 5),
            {"d": Line(sku="x", quantity=2), "e": None, "a": "more", "z": ""},
            b'{"a":1,"b":2,"c":3,"d":{"quantity":2,"sku":"x"},"e":null,'
            b'"more":{"a":"more","z":""},"rest":[4,5]}',
        ),
        (
            options,
            (1, "x"),
            {"colour": "red"},
            b'{"given":{"colour":"red"},"pair":[1,"x"]}',
        ),
    ],
)
def test_arguments_are_written_as_passed_and_read_back_into_the_same_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], data: bytes | None
) -> None:
    signature = task(fn)
    written = signature.encode(args, kwargs)
    assert data is None or written == data
    bind = inspect.signature(fn).bind
    again_args, again_kwargs = signature.decode(written)
    expected, again = bind(*args, **kwargs), bind(*again_args, **again_kwargs)
    expected.apply_defaults()
    again.apply_defaults()
    assert again == expected


small = st.integers(0, 9)


@given(
    st.lists(small, max_size=5),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "x"]), small, max_size=5),
)
def test_a_call_is_refused_exactly_when_python_refuses_it(
    args: list[int], kwargs: dict[str, int]
) -> None:
    signature = task(defaults)
    try:
        direct = defaults(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError) as caught:
            signature.encode(tuple(args), kwargs)
        with pytest.raises(TypeError) as expected:
            inspect.signature(defaults).bind(*args, **kwargs)
        assert str(caught.value) == str(expected.value)
    else:
        again_args, again_kwargs = signature.decode(signature.encode(tuple(args), kwargs))
        assert defaults(*again_args, **again_kwargs) == direct


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing a required argument: 'card'"),
        (("c",), {"key": "k"}, "missing a required argument: 'amount'"),
        (("c", 1, 2), {}, "too many positional arguments"),
        (("c", 1), {"card": "d"}, "multiple values for argument 'card'"),
        (("c", 1), {"nope": 1}, "got an unexpected keyword argument 'nope'"),
    ],
)
def test_a_wrong_call_gets_the_text_of_python(
    args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(TypeError, match=text):
        task(charge).encode(args, kwargs)


def test_a_changed_default_changes_no_recorded_call() -> None:
    def before(card: str, retries: int = 3) -> None: ...
    def after(card: str, retries: int = 5, note: str = "") -> None: ...

    assert task(before).encode(("c",), {}) == task(after).encode(("c",), {})


def test_a_skipped_argument_keeps_the_place_of_the_next() -> None:
    assert task(defaults).decode(b'{"c":9}') == ((1, 2, 9), {})
    assert task(defaults).decode(b'{"a":9}') == ((9,), {})


def test_values_are_refused_by_path() -> None:
    with pytest.raises(PayloadError, match=r"^task charge: amount\.x\[0\]: NaN"):
        task(charge).encode(("c", {"x": [float("nan")]}), {})
    with pytest.raises(LimitExceeded, match=r"^task charge: takes \d+ bytes"):
        task(charge).encode(("c" * limits.PAYLOAD_BYTES, 1), {})


@pytest.mark.parametrize(
    ("fn", "data", "text"),
    [
        (charge, b'{"card":1,"amount":"1"}', "task charge: card: expected `str`, got `int`"),
        (charge, b'{"card":"c"}', "task charge: the argument amount is missing"),
        (charge, b'{"card":"c","amount":"1","x":1}', "task charge: value: object contains unknown"),
        (charge, b"[]", "task charge: value: expected `object`, got `array`"),
        (charge, b"{", "task charge: value: input data was truncated"),
        (everything, b'{"a":1,"d":{"sku":1}}', "task everything: d.sku: Input should be"),
        (everything, b'{"a":1,"d":{"sku":"$"},"rest":["$"]}', "task everything: rest[0]: expected"),
    ],
)
def test_bytes_that_do_not_fit_are_refused_by_path(
    fn: Callable[..., Any], data: bytes, text: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        task(fn).decode(data)
    assert caught.value.message.lower().startswith(text.lower())


async def process(run: Run, order: Line, note: str = "") -> list[Line]:
    return [order]


def test_a_workflow_leaves_out_its_run() -> None:
    """`Run` may be imported for type checkers only."""
    signature = Signature.of(process, skip_first=True, what="workflow orders")
    assert signature.encode((Line(sku="a"),), {}) == b'{"order":{"sku":"a"}}'
    assert signature.decode(b'{"order":{"sku":"a"}}') == ((Line(sku="a"),), {})
    assert signature.returns.decode(b'[{"sku":"b"}]') == [Line(sku="b")]


def no_run() -> None: ...
def only_keyword(*, run: object) -> None: ...
def generator(run: object) -> Iterator[int]:
    yield 1


async def async_generator(run: object) -> AsyncIterator[int]:
    yield 1


def charge_job(order: list[Job]) -> None: ...
def charge_more(*orders: Job) -> None: ...
def charge_named(**orders: Job) -> None: ...
def returns_job(order: int) -> dict[str, Job]: ...  # type: ignore[empty-body]
def unresolved(order: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def late_run(order: int, run: Run) -> None: ...


@pytest.mark.parametrize(
    ("fn", "skip_first", "start"),
    [
        (no_run, True, "it no_run does not take its run; write `async def no_run(run: Run, ...)`"),
        (only_keyword, True, "it only_keyword does not take its run"),
        (generator, False, "it generator is a generator; return a list"),
        (async_generator, True, "it async_generator is a generator"),
        (charge_job, False, "charge_job(order[].handle): socket.socket cannot be encoded; use"),
        (charge_more, False, "charge_more(orders[].handle): socket.socket cannot be encoded"),
        (charge_named, False, "charge_named(orders[].handle): socket.socket cannot be encoded"),
        (returns_job, False, "returns_job() result[].handle: socket.socket cannot be encoded"),
        (unresolved, False, "it unresolved: its annotations cannot be resolved: name 'Nowhere'"),
        (late_run, False, "it late_run: its annotations cannot be resolved: name 'Run'"),
    ],
)
def test_a_function_that_cannot_be_recorded_is_refused_when_defined(
    fn: Callable[..., Any], skip_first: bool, start: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        Signature.of(fn, skip_first=skip_first, what=f"it {fn.__name__}")
    assert caught.value.message.startswith(start)


def later() -> Coroutine[Any, Any, Line]: ...  # type: ignore[empty-body]
def sooner() -> Awaitable[Line]: ...  # type: ignore[empty-body]
def never() -> NoReturn:
    raise ValueError


def test_the_result_is_that_of_awaiting() -> None:
    line = Line(sku="$")
    for fn in (later, sooner):
        returns = task(fn).returns
        assert returns.decode(returns.encode(line)) == line
    assert task(never).returns.decode(b"null") is None
    assert task(bare).returns.decode(b'{"any":1}') == {"any": 1}


def test_wrapped_functions_and_callable_objects_have_signatures() -> None:
    @wraps(charge)
    async def wrapped(*args: Any, **kwargs: Any) -> str:
        return await charge(*args, **kwargs)

    class Charge:
        def __call__(self, line: Line) -> None: ...

    assert task(wrapped).decode(b'{"card":"c","amount":"2"}') == (("c", Decimal(2)), {})
    signature = Signature.of(Charge(), skip_first=False, what="task charge")
    assert signature.decode(b'{"line":{"sku":"a"}}') == ((Line(sku="a"),), {})


def test_the_schema_describes_what_is_written() -> None:
    schema = task(charge).schema()
    assert schema["type"] == "object"
    assert list(schema["properties"]) == ["card", "amount", "key"]
    assert schema["required"] == ["card", "amount"]
    assert schema["additionalProperties"] is False
    assert task(everything).schema()["required"] == ["a", "d"]
