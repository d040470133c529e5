"""Signatures: what a task or workflow takes and gives, read once from its annotations."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import msgspec

from aiki.errors import DefinitionError, LimitExceeded, PayloadError
from aiki.workflow import canonical
from aiki.workflow.codec import Codec, codec_for, offence, plain_annotation, schemas

_NAMED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_WITHOUT_VALUE = (typing.NoReturn, typing.Never, None)


class Signature:
    """The parameters and the result of one function, as a codec."""

    __slots__ = (
        "_by_name",
        "_by_place",
        "_codec",
        "_is_plain",
        "_parameters",
        "_required",
        "_signature",
        "_types",
        "returns",
        "what",
    )

    def __init__(
        self, signature: inspect.Signature, hints: dict[str, Any], *, returns: Any, what: str
    ) -> None:
        """`signature` and `hints` are those of the recorded parameters alone."""
        self.what = what
        self._signature = signature
        self._parameters = tuple(signature.parameters.values())
        self._types = [_field_type(each, hints) for each in self._parameters]
        self._by_place = [each.name for each in self._parameters if each.kind in _BY_PLACE]
        self._by_name = {each.name for each in self._parameters if each.kind in _BY_NAME}
        named = [each for each in self._parameters if each.kind in _NAMED]
        self._is_plain = len(named) == len(self._parameters)
        self._required = {each.name for each in named if each.default is Parameter.empty}
        self._refuse_offences()
        self._codec: Codec[Any] = Codec(self._struct(), "")
        self.returns: Codec[Any] = codec_for(returns, f"{self._name}() result")

    @classmethod
    def of(cls, fn: Callable[..., Any], *, skip_first: bool, what: str) -> Signature:
        """The signature of `fn`; `skip_first` drops a workflow's leading `run`.

        `what` names the function in errors, such as "task charge". Raises DefinitionError.
        """
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise DefinitionError(f"{what} is a generator; return a list instead of yielding")
        signature = inspect.signature(fn)
        parameters = list(signature.parameters.values())
        if skip_first:
            _require_run(fn, parameters, what)
            del parameters[0]
        hints = _hints(fn, {each.name for each in parameters} | {"return"}, what)
        returns = _result_type(hints.get("return", Any))
        signature = signature.replace(parameters=parameters)
        return cls(signature, hints, returns=returns, what=what)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The canonical object of the arguments as passed, by parameter name; no defaults.

        A wrong call raises Python's own TypeError.
        """
        try:
            return canonical.encode(self._bind(args, kwargs), "")
        except (PayloadError, LimitExceeded) as error:
            raise type(error)(f"{self.what}: {error.message}") from None

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with; its own defaults stand for what was not passed."""
        try:
            struct = self._codec.decode(data)
        except PayloadError as error:
            raise PayloadError(f"{self.what}: {error.message}") from None
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        skipped: list[Any] = []  # defaults, for a later argument must keep its place
        for parameter, value in zip(self._parameters, msgspec.structs.astuple(struct), strict=True):
            kind = parameter.kind
            if value is msgspec.UNSET:
                skipped += self._default(parameter)
            elif kind is Parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            elif kind is Parameter.VAR_KEYWORD:
                kwargs.update(value)
            else:
                args += skipped
                skipped = []
                args += value if kind is Parameter.VAR_POSITIONAL else (value,)
        return tuple(args), kwargs

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the object that `encode` writes."""
        properties, definitions = schemas(self._types)
        names = [each.name for each in self._parameters]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": dict(zip(names, properties, strict=True)),
            "required": [name for name in names if name in self._required],
            "additionalProperties": False,
        }
        return {**schema, "$defs": definitions} if definitions else schema

    @property
    def _name(self) -> str:
        return self.what.partition(" ")[2] or self.what

    def _refuse_offences(self) -> None:
        for parameter, annotation in zip(self._parameters, self._types, strict=True):
            found = offence(annotation)
            if found is not None:
                path, reason = found
                raise DefinitionError(f"{self._name}({parameter.name}{path}): {reason}")

    def _struct(self) -> type[msgspec.Struct]:
        """One struct for all arguments; its own field names cannot clash with anything."""
        fields: list[tuple[str, Any, Any]] = [
            (f"p{place}", plain_annotation(annotation), msgspec.UNSET)
            for place, annotation in enumerate(self._types)
        ]
        names = {f"p{place}": each.name for place, each in enumerate(self._parameters)}
        return msgspec.defstruct(
            "Arguments", fields, rename=names, forbid_unknown_fields=True, gc=False
        )

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._is_plain and len(args) <= len(self._by_place):
            bound = dict(zip(self._by_place, args, strict=False))
            if kwargs and kwargs.keys() <= self._by_name and bound.keys().isdisjoint(kwargs):
                bound.update(kwargs)
                kwargs = {}
            if not kwargs and self._required <= bound.keys():
                return bound
        return dict(self._signature.bind(*args, **kwargs).arguments)

    def _default(self, parameter: Parameter) -> tuple[Any, ...]:
        """What stands in the place of an argument that was not passed."""
        if parameter.name in self._required:
            raise PayloadError(f"{self.what}: the argument {parameter.name} is missing")
        return (parameter.default,) if parameter.kind in _BY_PLACE else ()


def _require_run(fn: Callable[..., Any], parameters: list[Parameter], what: str) -> None:
    if not parameters or parameters[0].kind not in _BY_PLACE:
        name = getattr(fn, "__name__", "process")
        raise DefinitionError(
            f"{what} does not take its run; write `async def {name}(run: Run, ...)`"
        )


def _hints(fn: Callable[..., Any], wanted: set[str], what: str) -> dict[str, Any]:
    """The resolved annotations of `wanted`; that of `run` may be there for type checkers only."""
    inner = inspect.unwrap(fn)
    if not hasattr(inner, "__globals__"):  # an object that is called
        inner = type(inner).__call__
    try:
        annotations = {n: each for n, each in inner.__annotations__.items() if n in wanted}
        scope = types.SimpleNamespace(
            __annotations__=annotations, __globals__=getattr(inner, "__globals__", {})
        )
        return typing.get_type_hints(scope, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise DefinitionError(
            f"{what}: its annotations cannot be resolved: {error}; "
            "import and define these types at the top level of the module, outside of TYPE_CHECKING"
        ) from None


def _field_type(parameter: Parameter, hints: dict[str, Any]) -> Any:
    """The type of what is stored under the parameter's name."""
    hint = hints.get(parameter.name, Any)
    is_unpacked = typing.get_origin(hint) is typing.Unpack
    if parameter.kind is Parameter.VAR_POSITIONAL:
        if getattr(hint, "__unpacked__", False):  # *args: *tuple[int, str]
            return types.GenericAlias(tuple, typing.get_args(hint))
        return typing.get_args(hint)[0] if is_unpacked else list[hint]  # type: ignore[valid-type]
    if parameter.kind is Parameter.VAR_KEYWORD:
        return typing.get_args(hint)[0] if is_unpacked else dict[str, hint]  # type: ignore[valid-type]
    return hint


def _result_type(hint: Any) -> Any:
    """The annotation of what awaiting the call gives."""
    if typing.get_origin(hint) in (collections.abc.Coroutine, collections.abc.Awaitable):
        hint = typing.get_args(hint)[-1]
    return None if hint in _WITHOUT_VALUE else hint
