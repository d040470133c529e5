"""SQL by name: sections `-- name --` of a .sql file; lines of comment say why."""

from __future__ import annotations

import re
from importlib.resources import files

_SECTION = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load_sql(package: str, file: str) -> dict[str, str]:
    """The statements of a file by their names, without comments."""
    text = files(package).joinpath(file).read_text("utf-8")
    parts = _SECTION.split(text)
    return {name: _statement(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _statement(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines).strip().rstrip(";")
