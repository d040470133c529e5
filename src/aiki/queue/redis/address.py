"""Where a Redis or Valkey is: one server, a cluster, or what Sentinels watch."""

from __future__ import annotations

from ssl import create_default_context
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from aiki.errors import ConfigurationError

SINGLE = "redis"
CLUSTER = "redis+cluster"
SENTINEL = "redis+sentinel"
_KINDS = {
    "redis": SINGLE,
    "rediss": SINGLE,
    "redis+cluster": CLUSTER,
    "rediss+cluster": CLUSTER,
    "redis+sentinel": SENTINEL,
    "rediss+sentinel": SENTINEL,
}
SCHEMES = frozenset(_KINDS)
_PORTS = {SINGLE: 6379, CLUSTER: 6379, SENTINEL: 26379}
_OPTIONS = frozenset({"prefix", "ssl", "ssl_ca"})
_SENTINEL_OPTIONS = frozenset({"sentinel_user", "sentinel_password"})
_LARGEST_PORT = 65_535


class Address(NamedTuple):
    """One or several servers, and how they are spoken to."""

    kind: str
    """`redis`, `redis+cluster` or `redis+sentinel`."""
    hosts: tuple[tuple[str, int], ...]
    user: str | None
    password: str | None
    """Never shown."""
    encrypted: bool
    database: int = 0
    """Always 0 in a cluster."""
    service: str = ""
    """What Sentinels call the servers that they watch."""
    prefix: str = ""
    """Stands before every key."""
    ssl: str = "true"
    """`true`, or `unverified`: encrypted, but to whomever answers."""
    ssl_ca: str | None = None
    """File with the certificate of whoever signed the servers'."""
    sentinel_user: str | None = None
    sentinel_password: str | None = None
    """For the Sentinels themselves. Never shown."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """From `redis://user:password@host:6379/0`, or `rediss://` for an encrypted connection.

        A cluster is `redis+cluster://host:6379,host2:6379`; what Sentinels watch is
        `redis+sentinel://host:26379,host2:26379/service/0`. Options are `prefix`, and for the
        encrypted ones also `ssl=unverified` and `ssl_ca`, and for Sentinels `sentinel_user` and
        `sentinel_password`. Raises `ConfigurationError` for what cannot be such a URL.
        """
        parts = urlsplit(url)
        kind = _KINDS.get(parts.scheme)
        if kind is None:
            raise ConfigurationError(
                f"{parts.scheme}:// is no URL of Redis; for example redis://host:6379/0"
            )
        logins, _, hosts = parts.netloc.rpartition("@")
        user, _, password = logins.partition(":")
        service, database = _path(kind, parts)
        options = _options(kind, parts)
        return cls(
            kind=kind,
            hosts=tuple(_host(each, _PORTS[kind]) for each in (hosts or "127.0.0.1").split(",")),
            user=unquote(user) or None,
            password=unquote(password) or None,
            encrypted=parts.scheme.startswith("rediss"),
            database=database,
            service=service,
            prefix=options.get("prefix", ""),
            ssl=options.get("ssl", "true"),
            ssl_ca=options.get("ssl_ca"),
            sentinel_user=options.get("sentinel_user"),
            sentinel_password=options.get("sentinel_password"),
        )._checked()

    def _checked(self) -> Address:
        if self.kind == SINGLE and len(self.hosts) > 1:
            raise ConfigurationError(
                "the URL of Redis names several hosts: redis+cluster:// and redis+sentinel:// do"
            )
        return self

    def check_certificate(self) -> None:
        """Raises `ConfigurationError` for an `ssl_ca` that cannot be read."""
        if self.ssl_ca is not None:
            try:
                create_default_context(cafile=self.ssl_ca)
            except OSError as error:
                raise ConfigurationError(
                    f"ssl_ca={self.ssl_ca!r} cannot be read: {error}"
                ) from None

    @property
    def label(self) -> str:
        """For people."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"Redis {hosts}{'/' if self.service else ''}{self.service}"


def _path(kind: str, parts: SplitResult) -> tuple[str, int]:
    """The service, and the number of the database."""
    words = [unquote(word) for word in parts.path.split("/") if word]
    service = ""
    if kind == SENTINEL:
        if not words:
            raise ConfigurationError(
                "the URL of Redis names no service: redis+sentinel://host:26379/service"
            )
        service = words.pop(0)
    if not words:
        return service, 0
    if kind == CLUSTER or len(words) > 1 or not (words[0].isascii() and words[0].isdigit()):
        raise ConfigurationError(f"{parts.path!r} in the URL of Redis: a database is a number, /0")
    return service, int(words[0])


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(default_port)
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not host or not 1 <= number <= _LARGEST_PORT:
        raise ConfigurationError(f"{text!r} in the URL of Redis is no host:port")
    return host.removeprefix("[").removesuffix("]"), number


def _options(kind: str, parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query))
    possible = _OPTIONS | _SENTINEL_OPTIONS if kind == SENTINEL else _OPTIONS
    for name in options:
        if name not in possible:
            known = ", ".join(sorted(possible))
            raise ConfigurationError(f"the URL of Redis has the option {name!r}; known are {known}")
    if options.get("ssl", "true") not in ("true", "unverified"):
        raise ConfigurationError(f"ssl={options['ssl']!r} in the URL of Redis: true or unverified")
    return options
