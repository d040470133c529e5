"""Index a Python library: every file is parsed by a task of its own, whatever dies in between.

The run lists the files, hands them to child workflows in batches, waits for a `publish` event, and
lets another child write the report. A child holds the records of its own batch, so what is read
back after a crash stays small.
"""

from __future__ import annotations

import ast
import os
import re
import sqlite3
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiki
from aiki import Run, Workflow, event, task, workflow
from examples import ledger

STANDARD_LIBRARY = sysconfig.get_path("stdlib")
BATCH_FILES = 100
_BATCHES_AT_ONCE = 3
_FILES_AT_ONCE = 6
_NOT_PARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OSError)


@dataclass(frozen=True)
class Job:
    """What to index, and where the results go."""

    folder: str
    index: str
    report: str
    limit: int | None = None
    publish_timeout: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Parsed:
    """What is kept of one file."""

    path: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    text: str = ""
    """Names of functions and classes, and the module's docstring."""
    error: str | None = None
    """Why it does not parse."""


@dataclass(frozen=True)
class Counts:
    """Sums over files."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    unparsable: tuple[str, ...] = ()

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.files + other.files,
            self.lines + other.lines,
            self.functions + other.functions,
            self.classes + other.classes,
            self.unparsable + other.unparsable,
        )


@dataclass(frozen=True)
class Publication:
    """The payload of the event `publish`."""

    by: str


publish = event("publish", Publication)


def python_files(folder: str, limit: int | None = None) -> list[str]:
    """Paths of the `.py` files below a folder, installed packages left out, sorted."""
    root = Path(folder)
    found = (file.relative_to(root) for file in root.rglob("*.py") if file.is_file())
    kept = (path for path in found if "site-packages" not in path.parts)
    return sorted(path.as_posix() for path in kept)[:limit]


@task
def list_files(folder: str, limit: int | None) -> list[str]:
    ledger.note(folder)
    return python_files(folder, limit)


@task
def parse_file(folder: str, path: str) -> Parsed:
    """A file that does not parse is a result too: it is reported, and fails nothing."""
    ledger.note(path)
    try:
        source = Path(folder, path).read_bytes()
        with _one_parser:
            tree = ast.parse(source, path)
    except _NOT_PARSABLE as error:
        return Parsed(path, error=f"{type(error).__name__}: {error}"[:200])
    defined = [node for node in ast.walk(tree) if isinstance(node, _DEFINITIONS)]
    classes = sum(isinstance(node, ast.ClassDef) for node in defined)
    names = sorted({_words(node.name) for node in defined})
    return Parsed(
        path=path,
        lines=source.count(b"\n"),
        functions=len(defined) - classes,
        classes=classes,
        text=" ".join([ast.get_docstring(tree) or "", *names])[:4000],
    )


# Two threads inside `ast.parse` disturb each other in CPython 3.11 ("AST constructor recursion
# depth mismatch"). Parsing holds the interpreter's lock anyway: one at a time loses nothing.
_one_parser = threading.Lock()
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _words(name: str) -> str:
    """`HTTPServer` as `HTTP Server`; the index itself parts words at underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)


@task
def add_to_index(index: str, files: list[Parsed]) -> Counts:
    """Safe to repeat: a file replaces what stood in the index under its path."""
    ledger.note(files[0].path if files else "")
    with closing(sqlite3.connect(index, timeout=30)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS file (id INTEGER PRIMARY KEY, path TEXT UNIQUE,"
            " lines INTEGER, functions INTEGER, classes INTEGER)"
        )
        connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS page USING fts5(path, text)")
        for file in files:
            if file.error is None:
                _put(connection, file)
    return Counts(
        len(files),
        sum(file.lines for file in files),
        sum(file.functions for file in files),
        sum(file.classes for file in files),
        tuple(f"{file.path}: {file.error}" for file in files if file.error is not None),
    )


def _put(connection: sqlite3.Connection, file: Parsed) -> None:
    (number,) = connection.execute(
        "INSERT INTO file (path, lines, functions, classes) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (path) DO UPDATE SET lines = excluded.lines,"
        " functions = excluded.functions, classes = excluded.classes RETURNING id",
        (file.path, file.lines, file.functions, file.classes),
    ).fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO page (rowid, path, text) VALUES (?, ?, ?)",
        (number, _words(file.path), file.text),
    )


@task
def write_report(path: str, counts: Counts, published_by: str | None) -> str:
    """Safe to repeat: the file is replaced in one step."""
    ledger.note(path)
    lines = [
        f"published by {published_by}" if published_by else "a draft: nobody published it",
        f"{counts.files} files, {counts.lines} lines",
        f"{counts.functions} functions, {counts.classes} classes",
        f"{len(counts.unparsable)} files do not parse:",
        *(f"  {problem}" for problem in counts.unparsable),
    ]
    text = "\n".join(lines) + "\n"
    draft = Path(f"{path}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
    return text


@workflow("library-batch").version("1.0.0")
async def index_batch(run: Run, folder: str, index: str, paths: list[str]) -> Counts:
    """Parse some files, a few at a time, and add them to the index."""
    calls = [(folder, path) for path in paths]
    parsed = await run.starmap(parse_file, calls, concurrency=_FILES_AT_ONCE)
    return await add_to_index(run, index, parsed)


@workflow("library-report").version("1.0.0")
async def report(run: Run, path: str, counts: Counts, published_by: str | None) -> str:
    """Write down what was found."""
    return await write_report(run, path, counts, published_by)


@workflow("library-index").version("1.0.0", events=[publish])
async def library_index(run: Run, job: Job) -> str:
    """Index a folder; answers the report's text."""
    paths = await list_files(run, job.folder, job.limit)
    calls = [(job.folder, job.index, batch) for batch in _batches(paths)]
    counted = await run.starmap(index_batch, calls, concurrency=_BATCHES_AT_ONCE)
    counts = sum(counted, Counts())
    run.logger.info("%d files are indexed", counts.files)
    await run.sleep("let the disk settle", timedelta(milliseconds=500))
    try:
        published_by = (await run.wait(publish, timeout=job.publish_timeout)).by
    except aiki.WaitTimeout:
        published_by = None
    return await report(run, job.report, counts, published_by)


WORKFLOWS: list[Workflow[..., Any]] = [library_index, index_batch, report]


def _batches(paths: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(paths), BATCH_FILES):
        yield paths[begin : begin + BATCH_FILES]


@dataclass(frozen=True)
class Hit:
    """A file that was found."""

    path: str
    lines: int
    functions: int
    classes: int


def search(index: str | Path, words: str, limit: int = 3) -> list[Hit]:
    """The files that hold all these words, best first."""
    wanted = " ".join('"' + word.replace('"', '""') + '"' for word in words.split())
    if not wanted:
        return []
    with closing(sqlite3.connect(index)) as connection:
        rows = connection.execute(
            "SELECT file.path, lines, functions, classes FROM page"
            " JOIN file ON file.id = page.rowid"
            " WHERE page MATCH ? ORDER BY bm25(page, 5.0, 1.0) LIMIT ?",
            (wanted, limit),
        ).fetchall()
    return [Hit(*row) for row in rows]
