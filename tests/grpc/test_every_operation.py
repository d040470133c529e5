"""Law: an operation reaches the engine as it was sent, and the caller gets what was answered."""

from __future__ import annotations

from typing import Any

import pytest

from aiki.errors import AikiError
from aiki.operations.base import OPERATIONS, Operation
from aiki.server.grpc.server import SERVICE
from tests.grpc.support import Served
from tests.support.cases import Call, Script


class Ear:
    """Writes down what an engine is asked, and what it answers."""

    def __init__(self, engine: Any) -> None:
        self._heard: list[tuple[Operation[Any], Any]] = []
        self._dispatch = engine.dispatch
        engine.dispatch = self.dispatch

    def dispatch(self, operation: Operation[Any], principal: Any, reply: Any) -> None:
        def answer(result: Any, error: BaseException | None) -> None:
            self._heard.append((operation, result if error is None else error))
            reply(result, error)

        self._dispatch(operation, principal, answer)

    def answer_to(self, operation: Operation[Any]) -> Any:
        """What was first answered to an operation like this that was not looked at yet."""
        place = next(i for i, (heard, _) in enumerate(self._heard) if heard == operation)
        return self._heard.pop(place)[1]


async def _way_into(server: Served, way: str) -> Call:
    api = await server.api()
    return api.call if way == "session" else api._send


@pytest.mark.parametrize("way", ["session", "calls"])
async def test_every_operation_and_answer_arrives_as_it_was(server: Served, way: str) -> None:
    ear = Ear(server.engine)
    told = await Script(await _way_into(server, way), server.engine).run()
    for operation, answer in told:
        given = ear.answer_to(operation)
        if isinstance(given, AikiError):
            assert (type(answer), answer.message) == (type(given), given.message)
        else:
            assert answer == given, type(operation).__name__
    assert {type(operation) for operation, _ in told} == set(OPERATIONS.values())


def test_every_operation_has_a_method() -> None:
    assert {method.name for method in SERVICE.methods} == {*OPERATIONS, "Session"}
