"""The log of a process: one line for each record, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from aiki.cli.output import clean
from aiki.configuration import Settings

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class OneLine(logging.Formatter):
    """One line for each record: an exception is its type, its message and its place."""

    def formatException(self, ei: Any) -> str:  # noqa: N802  (the base class names it)
        info: _ExceptionInfo = ei
        if os.environ.get("AIKI_DEBUG") == "1":
            return super().formatException(ei)
        frames = traceback.extract_tb(info[2])
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        return clean(f"{info[0].__name__}: {info[1]}{place}")


def configure_logging(settings: Settings) -> None:
    """Write what is at least of the level that was chosen."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
