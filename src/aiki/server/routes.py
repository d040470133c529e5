"""Routes: which endpoint answers a path."""

from __future__ import annotations

from aiki.errors import NotFound
from aiki.server.exchange import Exchange
from aiki.server.presence import keep_presence
from aiki.server.service import Service


class Routes:
    """Finds the endpoint of a request."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, exchange: Exchange) -> None:
        parts = exchange.path.split("/")
        if parts[1:4] == ["api", "v1", "workers"] and parts[5:] == ["presence"]:
            from urllib.parse import parse_qs

            number = int(parse_qs(exchange.scope["query_string"].decode())["number"][0])
            principal = self._service.access.principal(exchange.headers)
            await keep_presence(exchange, self._service, principal, parts[4], number)
            return
        raise NotFound(f"no path {exchange.path}")
