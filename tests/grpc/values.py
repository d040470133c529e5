"""Random values for every struct that travels, drawn from its annotations."""

from __future__ import annotations

import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from aiki.model.retry import Retry

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_INTEGERS = st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1))
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.one_of(st.just(""), _TEXT),
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    int: _INTEGERS,
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=3,
)


@cache
def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of this type, the smallest among them."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        # Looked up late: a struct may hold one of its own kind.
        return st.deferred(lambda: _structs(annotation))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([values_of(each) for each in arguments])
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(_TEXT, _JSON if arguments[1] is Any else values_of(arguments[1]))
    raise TypeError(f"no values are known for {annotation}")


@cache
def _structs(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    fields = {field.name: values_of(field.type) for field in msgspec.structs.fields(struct)}
    if struct is Retry:
        fields |= {
            "attempts": st.integers(1, 2**40),
            "factor": st.floats(1.0, 100.0),
            "jitter": st.floats(0.0, 1.0),
        }
    return st.builds(struct, **fields)
