"""A handler: the two steps in which an operation is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiki.engine.batch import Batch
from aiki.model.audit import Principal


class Handler(NamedTuple):
    """`prepare` names rows before they are loaded; `apply` decides, or raises and changes none."""

    prepare: Callable[[Any, Principal, Batch], Awaitable[None]]
    apply: Callable[[Any, Principal, Batch], Any]
