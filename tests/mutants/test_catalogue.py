"""The catalogue of mutants fits the sources: each can be applied, and its tests are there.

That they kill is checked by `python -m tests.mutants`, which takes a few minutes.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import aiki
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(aiki.__file__).parent


@cache
def _module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def _tests_in(body: list[ast.stmt]) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in body if isinstance(node, kinds) and node.name.startswith("test_")}


def _origin(path: str, name: str) -> tuple[str, str]:
    """Where a class that a test file imports from `tests` is defined."""
    for node in _module(path).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return f"{(node.module or '').replace('.', '/')}.py", name
    return path, name


@cache
def _tests_of_class(path: str, name: str) -> frozenset[str]:
    """Its own tests, and those of its bases."""
    path, name = _origin(path, name)
    (found,) = [n for n in _module(path).body if isinstance(n, ast.ClassDef) and n.name == name]
    tests = _tests_in(found.body)
    for base in found.bases:
        if isinstance(base, ast.Name):
            tests |= _tests_of_class(path, base.id)
    return frozenset(tests)


def _exists(test: str) -> bool:
    path, *names = test.split("::")
    if len(names) == 1:
        return names[0] in _tests_in(_module(path).body)
    owner, name = names
    return name in _tests_of_class(path, owner)


def _changed_lines(mutant: Mutant) -> int:
    old, new = mutant.old.splitlines(), mutant.new.splitlines()
    assert len(old) == len(new)
    return sum(before != after for before, after in zip(old, new, strict=True))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_applied_and_its_tests_exist(mutant: Mutant) -> None:
    source = (SOURCES / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    assert _changed_lines(mutant) == 1
    mutated = source.replace(mutant.old, mutant.new)
    if mutant.file.endswith(".py"):
        compile(mutated, mutant.file, "exec")
    assert mutant.killers
    assert [test for test in mutant.killers if not _exists(test)] == []


def test_names_differ() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 22
