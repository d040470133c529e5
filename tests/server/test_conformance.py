"""Law: REST and this process answer every operation alike, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from aiki import errors
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.runs import RunQuery
from tests.server.support import House
from tests.support.cases import Likeness, Script, plain


class OverRest:
    """Sends operations as anybody would who has read the documentation."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def call(self, operation: Operation[Any]) -> Any:
        """The answer as JSON; a problem as the error that it stands for."""
        method, path = operation.route.split(" ")
        fields = {
            info.name: getattr(operation, info.name) for info in msgspec.structs.fields(operation)
        }
        for name in [name for name in fields if f"{{{name}}}" in path]:
            path = path.replace(f"{{{name}}}", quote(fields.pop(name), safe=""))
        if method in ("GET", "DELETE"):
            sent: dict[str, Any] = {"params": _parameters(fields)}
        else:
            sent = {"json": plain(fields)}
        response = await self._house.request(method, path.removeprefix("/"), **sent)
        if response.status >= 400:
            raise _error(response.kind, response.json["detail"])
        return Decoded(response.json)


class Decoded:
    """An answer as it came, which the script reads like the record."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getattr__(self, name: str) -> Any:
        found = self.value[name]
        return Decoded(found) if isinstance(found, dict | list) else found

    def __getitem__(self, index: int) -> Decoded:
        return Decoded(self.value[index])


def _parameters(fields: dict[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, RunQuery):
            pairs += _parameters(msgspec.structs.asdict(value))
        elif isinstance(value, tuple):
            pairs += [(name, str(each)) for each in value]
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs


def _error(kind: str, message: str) -> errors.AikiError:
    name = "".join(map(str.capitalize, kind.split("-")))
    found: errors.AikiError = getattr(errors, name)(message)
    return found


async def _life(house: House, call: Any) -> list[tuple[type[Operation[Any]], Any]]:
    told = await Script(call, house.engine).run()
    likeness = Likeness()
    answers: list[tuple[type[Operation[Any]], Any]] = []
    for operation, answer in told:
        # Ids are numbered as they are asked for, so that answers may bring them in any order.
        likeness.of(plain(operation))
        value = answer.value if isinstance(answer, Decoded) else plain(answer)
        answers.append((type(operation), likeness.of(value)))
    return answers


async def test_every_operation_is_answered_as_in_this_process(house: House, tmp_path: Path) -> None:
    over_rest = await _life(house, OverRest(house).call)
    async with House(tmp_path / "b.db") as other:
        in_process = await _life(other, other.api.call)
    assert len(over_rest) == len(in_process)
    for got, expected in zip(over_rest, in_process, strict=True):
        assert got == expected


async def test_the_script_has_a_case_for_every_operation(house: House) -> None:
    told = await Script(house.api.call, house.engine).run()
    answered = {type(each.operation) for each in told if not isinstance(each.answer, Exception)}
    assert answered == set(OPERATIONS.values())


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_every_operation_travels_in_a_message_of_calls(house: House, name: str) -> None:
    """Whatever it is answered, it is known, and the neighbours are answered too."""
    kind = OPERATIONS[name]
    fields = {
        info.name: msgspec.convert(_example(info.type), info.type)
        for info in msgspec.structs.fields(kind)
        if info.required
    }
    first, answer = await house.calls(OPERATIONS["GetServerInfo"](), kind(**fields))
    assert not isinstance(first, Exception)
    assert "knows no operation" not in str(answer)


def _example(kind: Any) -> Any:
    if kind is str:
        return "x"
    if kind is int:
        return 1
    if kind is RunQuery:
        return {}
    return None if type(None) in getattr(kind, "__args__", ()) else ()
