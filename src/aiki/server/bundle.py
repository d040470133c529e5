"""A bundle: operations that came in one message, handed to the engine together.

They run side by side and share a commit; the bundle is done when all are answered. One that waits
for something to happen can be hurried: it is answered as if its time were over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from aiki.engine.engine import Engine
from aiki.errors import AikiError
from aiki.model.audit import Principal
from aiki.operations.base import Operation
from aiki.operations.work import ClaimRuns
from aiki.wire.calls import Answer

_AGAIN_SECONDS = 0.05
"""A claim that is being looked after can be withdrawn only when it waits again."""


def waits(operation: Any) -> bool:
    """Whether it is answered when something happens, and not at once."""
    return getattr(operation, "wait_ms", 0) > 0


class Bundle:
    """Collects the answers to operations, in their order."""

    def __init__(
        self, engine: Engine, principal: Principal, operations: Sequence[Operation[Any] | AikiError]
    ) -> None:
        self.done: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.waits = any(map(waits, operations))
        self._engine = engine
        self._principal = principal
        self._operations = operations
        self._answers: list[Answer | None] = [None] * len(operations)
        self._missing = len(operations)

    def dispatch(self) -> None:
        """Hand all of them to the engine."""
        if not self._operations:
            self.done.set_result([])
        for index, operation in enumerate(self._operations):
            if isinstance(operation, AikiError):
                self._answer(index, None, operation)
            else:
                self._engine.dispatch(operation, self._principal, partial(self._answer, index))

    def _answer(self, index: int, result: Any, error: BaseException | None) -> None:
        if self._answers[index] is not None:
            return
        self._answers[index] = (result, error)
        self._missing -= 1
        if not self._missing and not self.done.done():
            self.done.set_result([answer for answer in self._answers if answer is not None])

    async def hurry(self) -> None:
        """Let those that wait be answered now; a claim is withdrawn, so that it is granted nothing.

        Returns when all are answered.
        """
        for index, operation in enumerate(self._operations):
            if not waits(operation) or self._answers[index] is not None:
                continue
            if not isinstance(operation, AikiError | ClaimRuns):
                once: Operation[Any] = msgspec.structs.replace(operation, wait_ms=0)
                self._engine.dispatch(once, self._principal, partial(self._answer, index))
        while not self.done.done():
            self.withdraw()
            await asyncio.wait({self.done}, timeout=_AGAIN_SECONDS)

    def withdraw(self) -> None:
        """Let waiting claims be granted nothing: what they got would be held by nobody.

        Another claim of the same worker may be answered with nothing too; it is sent again.
        """
        for index, operation in enumerate(self._operations):
            if isinstance(operation, ClaimRuns) and self._answers[index] is None:
                self._engine.claims.withdraw(operation.incarnation, self._principal.namespace)


def with_waits(
    operations: Sequence[Operation[Any] | AikiError], longest_ms: int
) -> list[Operation[Any] | AikiError]:
    """The operations, none of which waits longer than that."""
    return [
        msgspec.structs.replace(each, wait_ms=longest_ms)
        if getattr(each, "wait_ms", 0) > longest_ms and not isinstance(each, AikiError)
        else each
        for each in operations
    ]
