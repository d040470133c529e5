"""A command of Redis, and what came of it: a result, or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from redis.exceptions import RedisClusterException, RedisError

Word = str | bytes | int
FAILURES = (
    RedisError,
    RedisClusterException,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)
"""What the library raises."""


class Command(NamedTuple):
    """A command of Redis, and the key that it is about."""

    key: str
    words: tuple[Word, ...]


class Refusal(NamedTuple):
    """What came of one command instead of a result."""

    code: str
    """The first word of what Redis said; or the class of an error without such a word."""
    text: str

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """From an error of the library, which strips the codes that it knows."""
        text = str(error) or repr(error)
        word = text.partition(" ")[0]
        return cls(word if word.isupper() else type(error).__name__, text)


Answer = Any | Refusal


@asynccontextmanager
async def in_time(seconds: float) -> AsyncGenerator[None]:
    """Raise a `TimeoutError` that says so after so long."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error
