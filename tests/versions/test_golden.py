"""What every version wrote on the wire is read by this one, and means the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiki.operations.base import OPERATIONS
from aiki.operations.runs import StartRun, StartRuns
from aiki.wire.calls import encode_answers, encode_calls
from tests.versions import compatibility
from tests.versions.compatibility import lost, problems, unpack_answer, unpack_call
from tests.versions.golden import Golden, Sample, files, golden_of, missing, plain, read, write


@pytest.mark.parametrize("path", files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_version_wrote_is_read_by_this_one(path: Path) -> None:
    assert list(problems(read(path))) == []


def test_each_operation_has_a_golden_file_of_some_version() -> None:
    written = {path.stem for path in files()}
    lacking = sorted(set(OPERATIONS) - written)
    assert lacking == [], (
        f"{', '.join(lacking)}: nothing on the wire is kept of it; "
        "python -m tests.versions.golden --write adds it, and the files are committed"
    )


def test_the_generator_adds_a_version_and_changes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.versions.golden.FOLDER", tmp_path)
    first = write("7.1.3")
    assert sorted(path.stem for path in first) == sorted(OPERATIONS)
    assert {path.parent.name for path in first} == {"7.1"}
    first[0].write_bytes(b"older")
    first[1].unlink()
    assert missing("7.1.9") == [first[1].stem]
    assert write("7.1.9") == [first[1]]
    assert first[0].read_bytes() == b"older"
    assert write("7.1.9") == []
    assert {path.parent.name for path in write("7.2.0")} == {"7.2"}


def test_what_older_peers_read_is_still_written() -> None:
    """Names that were on the wire stay there, whatever is added beside them."""
    for path in files():
        golden = read(path)
        kind = OPERATIONS[golden.operation]
        for sample in golden.asked:
            again = encode_calls([unpack_call(sample)])
            assert list(_lost(golden, sample.msgpack, again)) == []
        for sample in golden.answered:
            again = encode_answers([(unpack_answer(kind, sample), None)])
            assert list(_lost(golden, sample.msgpack, again)) == []


def _lost(golden: Golden, then: bytes, now: bytes) -> Iterator[str]:
    before, after = msgspec.msgpack.decode(then), msgspec.msgpack.decode(now)
    return lost(golden.operation, "MessagePack", before, after)


# Changes that must be noticed, each made to a struct of its own


class Then(msgspec.Struct, kw_only=True):
    """What a version had."""

    name: str = "n"
    count: int = 7


def _read_as(**fields: Any) -> list[str]:
    """What is noticed when the struct has become this one."""
    changed = msgspec.defstruct("Changed", [(n, *f) for n, f in fields.items()], kw_only=True)
    then = Then()
    data = msgspec.msgpack.encode(then)
    sample = Sample(plain(then), data, b"", "")

    def unpack(sample: Sample) -> Any:
        return msgspec.msgpack.decode(sample.msgpack, type=changed)

    return list(compatibility._differences("Then", sample, {"MessagePack": unpack}))


def test_a_field_that_is_new_and_has_a_default_does_no_harm() -> None:
    assert _read_as(name=(str,), count=(int,), more=(str, "")) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": (str, "")}, "Then.count in MessagePack is read no more"),
        ({"name": (str, ""), "number": (int, 0)}, "Then.count in MessagePack is read no more"),
        ({"name": (str,), "count": (str,)}, "Expected `str`, got `int`"),
        ({"name": (str,), "count": (int,), "more": (str,)}, "missing required field `more`"),
        ({"name": (str,), "count": (bool | None, None)}, "got `int`"),
    ],
    ids=["removed", "renamed", "retyped", "new without a default", "narrowed"],
)
def test_a_change_that_is_not_compatible_is_told(fields: dict[str, Any], words: str) -> None:
    (told,) = _read_as(**fields)
    assert words in told
    assert "older peers are in use" in told


def test_an_operation_that_is_gone_is_told() -> None:
    (told,) = problems(Golden("Vanished", [], []))
    assert told.startswith("operation Vanished is gone")


def test_a_value_that_is_read_differently_is_told() -> None:
    then, now = {"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}], "c": 4}
    (told,) = lost("x", "JSON", then, now)
    assert told.startswith("x.a[1].b in JSON was 2 and is read as 3")


def test_samples_fill_every_field() -> None:
    golden = golden_of(StartRuns)
    first = golden.asked[0].value["starts"][0]
    assert set(first) == {field.name for field in msgspec.structs.fields(StartRun)}
    assert None not in first.values()
    conflicts = [start["on_conflict"] for start in golden.asked[0].value["starts"]]
    assert set(conflicts) == {"error", "return_existing"}
