"""Golden files: what each minor version wrote on the wire, which every later one must read.

A file holds the samples of one operation and of its answer: their values, and their bytes in
MessagePack, Protocol Buffers and JSON. `python -m tests.versions.golden --write` adds the files
that this version lacks; a file that is there stays as it is, whatever has become of the code.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

import aiki
from aiki.operations.base import OPERATIONS, Operation
from aiki.wire.calls import answer_type, encode_answers, encode_calls
from aiki.wire.faces import Faces
from aiki.wire.proto.convert import encode, encode_answer
from tests.versions.samples import samples_of

FOLDER = Path(__file__).parent / "golden"
FACES = Faces()


class Sample(msgspec.Struct, frozen=True):
    """One value, and what was written for it."""

    value: Any
    """In JSON's types; bytes are Base64."""
    msgpack: bytes
    """A message of one call, or of one answer."""
    protobuf: bytes
    json: str


class Golden(msgspec.Struct, frozen=True):
    """What one version wrote for one operation."""

    operation: str
    asked: list[Sample]
    answered: list[Sample]


def minor(version: str) -> str:
    """`1.4` of `1.4.2`."""
    return ".".join(version.split(".")[:2])


def golden_of(kind: type[Operation[Any]]) -> Golden:
    """What this version writes."""
    answers = answer_type(kind)
    return Golden(
        kind.__name__,
        [
            Sample(
                plain(value),
                encode_calls([value]),
                encode(value).SerializeToString(deterministic=True),
                _shown(kind, value),
            )
            for value in samples_of(kind)
        ],
        [
            Sample(
                plain(value),
                encode_answers([(value, None)]),
                encode_answer(kind, value).SerializeToString(deterministic=True),
                _shown(answers, value),
            )
            for value in samples_of(answers, "answer")
        ],
    )


def plain(value: Any) -> Any:
    """The value in JSON's types, as it comes back from a file."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _shown(kind: Any, value: Any) -> str:
    show = FACES.of(kind).show
    return msgspec.json.encode(value if show is None else show(value)).decode()


def files() -> list[Path]:
    """All that were written, the oldest version first."""
    return sorted(FOLDER.glob("*/*.json"), key=lambda path: (_number(path.parent.name), path.name))


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def read(path: Path) -> Golden:
    """What stands in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Golden)


def missing(version: str) -> list[str]:
    """The operations of which nothing is written for this version."""
    folder = FOLDER / minor(version)
    return [name for name in sorted(OPERATIONS) if not (folder / f"{name}.json").exists()]


def write(version: str) -> list[Path]:
    """Add what this version lacks; answers the new files."""
    made: list[Path] = []
    for name in missing(version):
        path = FOLDER / minor(version) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.encode(golden_of(OPERATIONS[name]), order="deterministic")
        path.write_bytes(msgspec.json.format(text, indent=1) + b"\n")
        made.append(path)
    return made


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="add the files that are missing")
    chosen = parser.parse_args()
    lacking = missing(aiki.__version__)
    if chosen.write:
        lacking = [path.stem for path in write(aiki.__version__)]
    print(f"{minor(aiki.__version__)}: {'added' if chosen.write else 'missing'} {len(lacking)}")
    print(*lacking, sep="\n")


if __name__ == "__main__":
    main()
