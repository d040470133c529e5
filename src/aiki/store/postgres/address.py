"""Where a database is: its URL without Aiki's own options, and the schema."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiki.errors import ConfigurationError

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LONGEST_CHANNEL = 63


class Address(NamedTuple):
    """A database, and the schema in it that Aiki uses."""

    url: str
    """For the driver; it may hold a password, so it is never shown."""
    schema: str | None
    """None: the first of the role's search path."""
    label: str
    """For people."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """From `postgresql://user@host/database?schema=name`.

        Raises `ConfigurationError` for what cannot be a URL or a schema's name.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigurationError(f"the URL of PostgreSQL cannot be read: {error}") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise ConfigurationError(
                f"{parts.scheme}:// is no URL of PostgreSQL; for example "
                "postgresql://user@host/database"
            )
        options = parse_qsl(parts.query)
        schema = next((value for name, value in options if name == "schema"), None)
        if schema is not None and not _SCHEMA.fullmatch(schema):
            raise ConfigurationError(
                f"schema={schema!r}: a schema's name is at most 63 lower-case letters, digits, _"
            )
        rest = urlencode([(name, value) for name, value in options if name != "schema"])
        # Several hosts may be named, of which the driver takes the one that serves.
        hosts = parts.netloc.rpartition("@")[2] or "local"
        label = f"PostgreSQL {hosts}{parts.path}"
        return cls(parts._replace(query=rest).geturl(), schema, label)


def channel_of(schema: str) -> str:
    """The channel of news of a schema: two Aikis in one database do not meet."""
    channel = f"aiki {schema}"
    if len(channel.encode()) <= _LONGEST_CHANNEL:
        return channel
    return f"aiki {hashlib.sha256(schema.encode()).hexdigest()[:40]}"
