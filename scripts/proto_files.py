"""Makes `aiki.proto` and its generated Python, or checks that they are what the structs say."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

from aiki.wire.proto.render import render

ROOT = Path(__file__).resolve().parents[1] / "src" / "aiki" / "wire" / "proto"
PROTO = "aiki/v1/aiki.proto"
GENERATED = ("aiki/v1/aiki_pb2.py", "aiki/v1/aiki_pb2.pyi")
UNCHECKED = (
    "# mypy: ignore-errors\n# pyright: basic, reportAttributeAccessIssue=false\n"
    "# ruff: noqa\n# fmt: off\n"
)
"""Linters and type checkers leave generated code alone."""


def compiled(text: str) -> dict[str, str]:
    """The Python of a `.proto` file, by path."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, PROTO)
        source.parent.mkdir(parents=True)
        source.write_text(text, encoding="utf-8")
        includes = resources.files("grpc_tools") / "_proto"
        command = ["protoc", f"-I{folder}", f"-I{includes}", f"--python_out={folder}"]
        if protoc.main([*command, f"--pyi_out={folder}", str(source)]) != 0:
            raise SystemExit(f"{PROTO} cannot be compiled: protoc says why above")
        return {name: UNCHECKED + Path(folder, name).read_text("utf-8") for name in GENERATED}


def made() -> dict[str, str]:
    """Every file as it should be, by path."""
    committed = ROOT / PROTO
    text = render(committed.read_text("utf-8") if committed.exists() else "")
    return {PROTO: text, **compiled(text)}


def main() -> int:
    """Write the files, or with `--check` name those that are not up to date."""
    parser = argparse.ArgumentParser(prog="scripts/proto", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = [
        name
        for name, text in made().items()
        if not (ROOT / name).exists() or (ROOT / name).read_text("utf-8") != text
    ]
    if check:
        for name in stale:
            print(f"{name} is not what the structs say: run ./scripts/proto", file=sys.stderr)
        return 1 if stale else 0
    for name, text in made().items():
        (ROOT / name).write_text(text, encoding="utf-8")
    print(f"proto: {', '.join(stale) or 'nothing'} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
