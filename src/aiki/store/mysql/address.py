"""Where a database is: the parts of its URL, and how the connection is encrypted."""

from __future__ import annotations

from ssl import CERT_NONE, SSLContext, create_default_context
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from aiki.errors import ConfigurationError

_PORT = 3306
_OPTIONS = frozenset({"unix_socket", "ssl", "ssl_ca"})
_SSL = ("true", "unverified")


class Address(NamedTuple):
    """A database on a server."""

    host: str
    port: int
    user: str
    password: str
    """Never shown."""
    database: str
    unix_socket: str | None = None
    ssl: str | None = None
    """`true`, or `unverified`: encrypted, but to whomever answers."""
    ssl_ca: str | None = None
    """File with the certificate of whoever signed the server's."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """From `mysql://user:password@host:3306/database`.

        Options are `unix_socket`, `ssl=true` or `ssl=unverified`, and `ssl_ca`. Raises
        `ConfigurationError` for what cannot be such a URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORT
        except ValueError as error:
            raise ConfigurationError(f"the URL of MySQL cannot be read: {error}") from None
        if parts.scheme not in ("mysql", "mariadb"):
            raise ConfigurationError(
                f"{parts.scheme}:// is no URL of MySQL; for example mysql://user@host/database"
            )
        database = unquote(parts.path.removeprefix("/"))
        if not database:
            raise ConfigurationError(
                "the URL of MySQL names no database; for example mysql://user@host/database"
            )
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=port,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            database=database,
            **_options(parts.query),
        )

    @property
    def label(self) -> str:
        """For people."""
        where = self.unix_socket or f"{self.host}:{self.port}"
        return f"MySQL {where}/{self.database}"

    def ssl_context(self) -> SSLContext | None:
        """How to encrypt; None: not at all.

        Raises `ConfigurationError` for an `ssl_ca` that cannot be read.
        """
        if self.ssl is None and self.ssl_ca is None:
            return None
        try:
            context = create_default_context(cafile=self.ssl_ca)
        except OSError as error:
            raise ConfigurationError(f"ssl_ca={self.ssl_ca!r} cannot be read: {error}") from None
        if self.ssl == "unverified":
            context.check_hostname = False
            context.verify_mode = CERT_NONE
        return context


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query))
    for name in options:
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"the URL of MySQL has the option {name!r}; known are {', '.join(sorted(_OPTIONS))}"
            )
    if options.get("ssl", "true") not in _SSL:
        raise ConfigurationError(f"ssl={options['ssl']!r} in the URL of MySQL: true or unverified")
    return options
