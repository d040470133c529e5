"""Codecs: one for each type annotation, between values and their canonical bytes."""

# Values of every type pass through here; what is unknown about them stays in this module.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
from __future__ import annotations

import collections.abc
import dataclasses
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from aiki.errors import DefinitionError, PayloadError
from aiki.workflow import canonical

T = TypeVar("T")

_FIX = "use a JSON value, dataclass, TypedDict, msgspec.Struct or pydantic model"


class Codec(Generic[T]):
    """Encodes and decodes the values of one annotation; `where` names them in errors."""

    __slots__ = ("_decode", "annotation", "where")

    def __init__(self, annotation: object, where: str) -> None:
        """Raises DefinitionError, with the path, for a type that cannot be encoded."""
        found = offence(annotation)
        if found is not None:
            path, reason = found
            raise DefinitionError(f"{join(where, path)}: {reason}")
        self.annotation = plain_annotation(annotation)
        self.where = where
        self._decode = _decoder(self.annotation)

    def encode(self, value: T) -> bytes:
        """The value as JSON, every field written. It is the reader who checks it by the type."""
        return canonical.encode_whole(value, self.where)

    def decode(self, data: bytes) -> T:
        """The value; PayloadError names the place that does not fit the type."""
        try:
            if b'"$' in data:
                value = _read_tagged(self.annotation, data)
            else:
                value = self._decode(data)
        except (ValueError, RecursionError) as error:
            raise PayloadError(_complaint(self.where, error)) from None
        return typing.cast("T", value)

    def schema(self) -> dict[str, Any]:
        """The annotation's JSON Schema (2020-12), self-contained."""
        (schema,), definitions = schemas([self.annotation])
        return {**schema, "$defs": definitions} if definitions else schema


def codec_for(annotation: object, where: str) -> Codec[Any]:
    """The codec of `annotation`; made once for each pair."""
    try:
        return _cached(annotation, where)
    except TypeError:  # an annotation with unhashable metadata
        return Codec(annotation, where)


@lru_cache(maxsize=4096, typed=True)
def _cached(annotation: object, where: str) -> Codec[Any]:
    return Codec(annotation, where)


def join(where: str, path: str) -> str:
    """`where` followed by a path such as `.lines[].sku`."""
    return f"{where}{path}" if where else path.removeprefix(".")


def plain_annotation(annotation: object) -> object:
    """`object` says as little as Any, but msgspec takes it for a class of its own."""
    return Any if annotation is object else annotation


def is_model(kind: object) -> bool:
    """Whether this is a pydantic model; pydantic is never imported for the question."""
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


# Decoding


def _decoder(annotation: Any) -> Callable[[bytes], Any]:
    if is_model(annotation):
        return typing.cast("Callable[[bytes], Any]", annotation.model_validate_json)
    return msgspec.json.Decoder(annotation, dec_hook=_construct).decode


def _construct(kind: type, plain: object) -> Any:
    """What msgspec cannot make: a pydantic model, read as JSON (its modes differ)."""
    if kind is object:
        return plain
    return kind.model_validate_json(_dump(plain))  # type: ignore[attr-defined]


def _dump(plain: object) -> bytes:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def _read_tagged(annotation: Any, data: bytes) -> Any:
    """The slow way: a key or a string begins with "$"."""
    plain = _untagged(msgspec.json.decode(data))
    if is_model(annotation):
        return annotation.model_validate_json(_dump(plain))
    return msgspec.convert(plain, annotation, str_keys=True, dec_hook=_construct)


def _untagged(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_untagged(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1 and isinstance(digits := plain.get("$int"), str):
        return int(digits)
    return {_unescaped(key): _untagged(item) for key, item in plain.items()}


def _unescaped(key: str) -> str:
    return key[1:] if key.startswith("$$") else key


def _complaint(where: str, error: Exception) -> str:
    """msgspec's or pydantic's text, with the path in front and no values in it."""
    text, _, path = str(error).rpartition(" - at `$")
    text, path = (text, path.removesuffix("`")) if text else (str(error), "")
    place = where + path.replace("[...]", "[]")
    model_error = error.__cause__ if isinstance(error, msgspec.ValidationError) else error
    if isinstance(model_error, ValueError) and hasattr(model_error, "errors"):
        details: Any = model_error
        found = details.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(
            f"{join('', place + _location(each['loc'])) or 'value'}: {each['msg']}"
            for each in found
        )
    if text[1:2].islower():
        text = text[:1].lower() + text[1:]
    return f"{join('', place) or 'value'}: {text}"


def _location(parts: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


# Definition


def offence(annotation: object) -> tuple[str, str] | None:
    """The path and the description of the first type that cannot be encoded, if there is one."""
    return _offence(annotation, [])


_ANYTHING = (Any, object, msgspec.UnsetType)


def _offence(annotation: Any, seen: list[Any]) -> tuple[str, str] | None:
    if annotation in _ANYTHING or isinstance(annotation, TypeVar) or annotation in seen:
        return None
    seen.append(annotation)
    try:
        for step, child in _children(annotation):
            if (found := _offence(child, seen)) is not None:
                return step + found[0], found[1]
        reason = None if _is_qualified(annotation) else _reason(annotation)
    except (TypeError, NameError) as error:
        reason = f"{_short(annotation)} cannot be encoded: {error}; {_fix(str(error))}"
    return None if reason is None else ("", reason)


def _reason(annotation: Any) -> str | None:
    """Why this very type cannot be encoded; its parts are known to be sound."""
    info = inspect.type_info(annotation)
    if isinstance(info, inspect.DictType) and not _is_key(info.key_type):
        key = _short(typing.get_args(annotation)[0])
        return f"{key} cannot be a key; use str, int, UUID, datetime or an enum"
    if isinstance(info, inspect.RawType | inspect.ExtType):
        return f"{_short(annotation)} cannot be encoded; use Any or bytes"
    if isinstance(info, inspect.CustomType) and not is_model(info.cls):
        return f"{_short(annotation)} cannot be encoded; {_FIX}"
    msgspec.json.Decoder(annotation, dec_hook=_construct)
    return None


def _fix(problem: str) -> str:
    if "custom type" in problem:
        return "give each alternative its own field, or use msgspec.Struct with tag=True"
    if "more than one" in problem:
        return "use one of them, or msgspec.Struct with tag=True for each alternative"
    if "is not defined" in problem:
        return "import that name at the top level of its module, outside of TYPE_CHECKING"
    return _FIX


_KEYS = (
    inspect.AnyType,
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
    inspect.UUIDType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
)


def _is_key(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return all(map(_is_key, info.types))
    return isinstance(info, _KEYS)


def _short(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return f"{annotation.__module__}.{annotation.__qualname__}".removeprefix("builtins.")
    return str(annotation).replace("typing.", "")


def _children(annotation: Any) -> Iterator[tuple[str, Any]]:
    """The types that this one is made of, each with its step in a path."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield "", arguments[0]
    elif hasattr(annotation, "__supertype__"):  # NewType
        yield "", annotation.__supertype__
    elif hasattr(annotation, "__value__"):  # the `type` statement, with or without arguments
        yield "", annotation.__value__
    elif origin in (typing.Union, types.UnionType) or _is_qualified(annotation):
        yield from (("", argument) for argument in arguments)
    elif origin is tuple and Ellipsis not in arguments:
        yield from ((f"[{place}]", argument) for place, argument in enumerate(arguments))
    elif isinstance(origin, type) and issubclass(origin, collections.abc.Collection):
        yield from (("[]", argument) for argument in arguments if argument is not Ellipsis)
    elif origin is not typing.Literal and not is_model(origin or annotation):
        yield from _fields(origin or annotation, arguments)


def _is_qualified(annotation: Any) -> bool:
    """Says something of a field, and is no type by itself."""
    name = getattr(typing.get_origin(annotation), "_name", None)
    return name in {"Final", "Required", "NotRequired", "ReadOnly"}


def _fields(kind: Any, arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The declared fields of a class, its type parameters replaced by `arguments`."""
    names = _field_names(kind)
    if not names:
        return
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters_of: tuple[Any, ...] = getattr(kind, "__parameters__", ())
    given: dict[Any, Any] = dict(zip(parameters_of, arguments, strict=False))
    for name in names:
        hint = hints.get(name, Any)
        parameters = getattr(hint, "__parameters__", ())
        if isinstance(hint, TypeVar):
            hint = given.get(hint, Any)
        elif given and parameters and typing.get_origin(hint) is not None:
            hint = hint[tuple(given.get(parameter, Any) for parameter in parameters)]
        yield f".{name}", hint


def _field_names(kind: Any) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    if typing.is_typeddict(kind):
        return list(kind.__annotations__)
    return list(getattr(kind, "__struct_fields__", getattr(kind, "_fields", ())))


# Schemas


def schemas(annotations: list[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The JSON Schemas of several annotations, and the definitions they refer to (`#/$defs/`)."""
    definitions: dict[str, Any] = {}

    def model_schema(kind: Any) -> dict[str, Any]:
        if kind is object:
            return {}
        prefix = re.sub(r"\W+", "_", kind.__qualname__)
        schema: dict[str, Any] = kind.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
        inner = schema.pop("$defs", {})
        definitions.update({f"{prefix}.{name}": part for name, part in inner.items()})
        return schema

    found, components = msgspec.json.schema_components(
        [plain_annotation(each) for each in annotations],
        schema_hook=model_schema,
        ref_template="#/$defs/{name}",
    )
    return list(found), {**definitions, **components}
