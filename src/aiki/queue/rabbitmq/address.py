"""Where a RabbitMQ broker is: the parts of its URL, and how the connection is encrypted."""

from __future__ import annotations

from ssl import CERT_NONE, SSLContext, create_default_context
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from aiki.errors import ConfigurationError

_PORTS = {"amqp": 5672, "amqps": 5671}
_OPTIONS = frozenset({"heartbeat_seconds", "ssl", "ssl_ca"})
_EXAMPLE = "for example amqp://user@host/vhost"
_HEARTBEAT_SECONDS = 10
_LONGEST_HEARTBEAT_SECONDS = 3600


class Address(NamedTuple):
    """A virtual host of a broker."""

    host: str
    port: int
    user: str
    password: str
    """Never shown."""
    virtual_host: str
    encrypted: bool
    ssl: str = "true"
    """`true`, or `unverified`: encrypted, but to whomever answers."""
    ssl_ca: str | None = None
    """File with the certificate of whoever signed the broker's."""
    heartbeat_seconds: int = _HEARTBEAT_SECONDS
    """How long either side is quiet at most: the other takes it for gone after three times that."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """From `amqp://user:password@host:5672/vhost`, or `amqps://` for an encrypted connection.

        Options are `heartbeat_seconds`, and for `amqps` also `ssl=unverified` and `ssl_ca`. Raises
        `ConfigurationError` for what cannot be such a URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"the URL of RabbitMQ cannot be read: {error}") from None
        if parts.scheme not in _PORTS:
            raise ConfigurationError(f"{parts.scheme}:// is no URL of RabbitMQ; {_EXAMPLE}")
        path = parts.path.removeprefix("/")
        if "/" in path:
            raise ConfigurationError(
                f"the virtual host {path!r} in the URL of RabbitMQ: a slash in it is written %2F"
            )
        options = _options(parts.query)
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=port or _PORTS[parts.scheme],
            user=unquote(parts.username or "guest"),
            password=unquote("guest" if parts.password is None else parts.password),
            virtual_host=unquote(path) or "/",
            encrypted=parts.scheme == "amqps",
            ssl=options.get("ssl", "true"),
            ssl_ca=options.get("ssl_ca"),
            heartbeat_seconds=_heartbeat(options.get("heartbeat_seconds")),
        )

    @property
    def label(self) -> str:
        """For people."""
        return f"RabbitMQ {self.host}:{self.port}/{self.virtual_host.removeprefix('/')}"

    def client_url(self, name: str) -> str:
        """For the client library; `name` is what the broker calls the connection."""
        scheme = "amqps" if self.encrypted else "amqp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, password, virtual_host, name = (
            quote(part, safe="") for part in (self.user, self.password, self.virtual_host, name)
        )
        return (
            f"{scheme}://{user}:{password}@{host}:{self.port}/{virtual_host}"
            f"?heartbeat={self.heartbeat_seconds}&name={name}"
        )

    def ssl_context(self) -> SSLContext | None:
        """How to encrypt; None: not at all.

        Raises `ConfigurationError` for an `ssl_ca` that cannot be read.
        """
        if not self.encrypted:
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
            known = ", ".join(sorted(_OPTIONS))
            raise ConfigurationError(
                f"the URL of RabbitMQ has the option {name!r}; known are {known}"
            )
    if options.get("ssl", "true") not in ("true", "unverified"):
        raise ConfigurationError(
            f"ssl={options['ssl']!r} in the URL of RabbitMQ: true or unverified"
        )
    return options


def _heartbeat(given: str | None) -> int:
    if given is None:
        return _HEARTBEAT_SECONDS
    seconds = int(given) if given.isascii() and given.isdigit() else 0
    if not 1 <= seconds <= _LONGEST_HEARTBEAT_SECONDS:
        raise ConfigurationError(
            f"heartbeat_seconds={given!r} in the URL of RabbitMQ:"
            f" from 1 to {_LONGEST_HEARTBEAT_SECONDS}"
        )
    return seconds
