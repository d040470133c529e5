"""Tuning: sizes, times and limits of a subscriber or publisher, as options of its URL."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiki.errors import ConfigurationError

T = TypeVar("T")


def tuned(url: str, make: Callable[..., T], *others: Callable[..., object]) -> T:
    """`make(url, ...)` with those options of the URL that it takes as keyword arguments.

    What only `others` take is left out, so that servers and workers may share a URL; all the rest
    stays in it. Raises `ConfigurationError` for a value that is no number.
    """
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    known = {name for each in (make, *others) for name in _defaults(each)}
    rest = [(name, value) for name, value in given if name not in known]
    query = parts.query if len(rest) == len(given) else urlencode(rest)
    return make(urlunsplit(parts._replace(query=query)), **_arguments(given, _defaults(make)))


def polling(url: str, kinds: Mapping[str, Callable[..., T]]) -> T:
    """Of `polling:kind?option=number`; raises `ConfigurationError` for what is none of these."""
    parts = urlsplit(url)
    make = kinds.get(parts.path)
    if make is None:
        known = " or ".join(f"polling:{kind}" for kind in kinds)
        raise ConfigurationError(f"{url!r} is no way of polling: {known}")
    given = parse_qsl(parts.query, keep_blank_values=True)
    defaults = _defaults(make)
    for name, _ in given:
        if name not in defaults:
            known = ", ".join(sorted(defaults))
            raise ConfigurationError(f"{url!r} has the option {name!r}; known are {known}")
    return make(**_arguments(given, defaults))


def _defaults(make: Callable[..., object]) -> dict[str, Any]:
    """The keyword arguments that it takes, with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _arguments(given: list[tuple[str, str]], defaults: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(name, text, defaults[name]) for name, text in given if name in defaults}


def _number(name: str, text: str, default: float | None) -> float:
    """A whole one, unless the default says that fractions make sense."""
    try:
        number = float(text) if isinstance(default, float) else int(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"{name}={text!r} in the URL of the queue is no number")
    return number
