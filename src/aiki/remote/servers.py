"""The servers that stand in for each other: which one to call, and which ones to leave alone.

Calls go to one server for as long as it answers. One that fails is left out for a pause that grows,
and is then tried again when it is needed. Nothing here belongs to an event loop: threads share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from aiki.clock import SYSTEM, Clock, jitter
from aiki.errors import ConfigurationError

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_DOUBLINGS = 10


class Server:
    """One server, and how it fared lately."""

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        self.url = url
        self._clock = clock
        self._failures = 0
        self._out_until = 0.0

    def __repr__(self) -> str:
        return f"<server {self.url}>"

    @property
    def out_seconds(self) -> float:
        """For how long it is still to be left out; 0 when it may be called."""
        return max(0.0, self._out_until - self._clock.monotonic())

    def answered(self) -> None:
        """It works."""
        self._failures = 0
        self._out_until = 0.0

    def failed(self, at_least_seconds: float = 0.0) -> None:
        """It did not answer: leave it out, each time for longer, with jitter.

        Requests that fail together are one failure.
        """
        if self.out_seconds > 0:
            return
        pause = _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, _DOUBLINGS)
        pause = min(max(pause, at_least_seconds), _LONGEST_PAUSE_SECONDS) * jitter(0.5)
        self._failures += 1
        self._out_until = self._clock.monotonic() + pause


class Servers:
    """All of them, the one in use first."""

    def __init__(self, urls: Sequence[str], clock: Clock = SYSTEM) -> None:
        self.all = [Server(url, clock) for url in parse_urls(urls)]
        self._current = self.all[0]

    def __str__(self) -> str:
        return ", ".join(server.url for server in self.all)

    def candidates(self) -> Iterator[Server]:
        """Each server once, in the order in which to try them for one call.

        Those that are left out come last: when nothing else answers, they are asked all the same.
        """
        rest = [server for server in self.all if server is not self._current]
        order = [self._current, *rest]
        order.sort(key=lambda server: server.out_seconds)
        return iter(order)

    def use(self, server: Server) -> None:
        """This one answered: the next calls go there too."""
        server.answered()
        self._current = server


def parse_urls(urls: Sequence[str]) -> list[str]:
    """The servers' URLs, one by one: `http://a:8080,b:8080` names two.

    Raises `ConfigurationError` for what is no URL of a server.
    """
    found: list[str] = []
    for text in urls:
        scheme, separator, rest = text.partition("://")
        for part in rest.split(","):
            whole = part.strip()
            url = _checked(whole if "://" in whole else f"{scheme}{separator}{whole}", text)
            if url not in found:
                found.append(url)
    return found


def _checked(url: str, text: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{text!r}: {url!r} begins with neither http:// nor https://")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the URL of {parts.hostname} holds a name or a password: give a token instead"
        )
    try:
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise ConfigurationError(f"{text!r}: {url!r} names no host and port: http://host:8080")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{text!r}: the URL of a server takes no options")
    return url.rstrip("/")
