"""Routes: which endpoint answers a path, and which methods it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.routing import Route, Router

from aiki.errors import NotFound
from aiki.model.audit import Principal
from aiki.server.access import OPEN_PATHS
from aiki.server.exchange import Exchange, Receive, Scope, Send
from aiki.server.health import Health
from aiki.server.pages import Pages
from aiki.server.presence import open_presence
from aiki.server.problems import Refusal
from aiki.server.resources import PREFIX, make_resources
from aiki.server.service import Service
from aiki.server.streams import stream_namespace, stream_run

Endpoint = Callable[[Exchange, Service, Principal, dict[str, str]], Awaitable[None]]
_EXCHANGE = "aiki.exchange"
_PRINCIPAL = "aiki.principal"
_ENDLESS: frozenset[Any] = frozenset({open_presence, stream_run, stream_namespace})
"""What has no end has no length either: HEAD cannot answer for it."""
_NOBODY = Principal(name="nobody", roles=frozenset())


class Routes:
    """Finds the endpoint of a request, for callers that are let in."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._health = Health(service)
        table = self._table()
        routes = [Route(path, _Methods(path, found, service)) for path, found in table.items()]
        # What is literal is found before what has a field in its place.
        routes.sort(key=lambda route: [part.startswith("{") for part in route.path.split("/")])
        self._router = Router(routes, redirect_slashes=False, default=_no_path)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer; raises `NotFound`, and `Refusal` for a method that the path does not have."""
        scope = exchange.scope
        if exchange.path not in OPEN_PATHS:
            scope[_PRINCIPAL] = self._service.access.principal(exchange.headers)
        scope[_EXCHANGE] = exchange
        await self._router(scope, exchange.receive, _unused)

    def _table(self) -> dict[str, dict[str, Endpoint]]:
        """Every path below the root, with its endpoints by method."""
        table: dict[str, dict[str, Endpoint]] = {}
        resources = make_resources()
        pages = Pages(resources)
        for resource in resources:
            path = PREFIX + resource.intake.path
            table.setdefault(path, {})[resource.intake.method] = resource
        table["/version"] = table[f"{PREFIX}/version"]
        table["/healthz"] = {"GET": _plain(self._health.answer_alive)}
        table["/readyz"] = {"GET": _plain(self._health.answer_ready)}
        table[f"{PREFIX}/openapi.json"] = {"GET": _plain(pages.answer_document)}
        table[f"{PREFIX}/docs"] = {"GET": _plain(pages.answer_page)}
        table[f"{PREFIX}/workers/{{incarnation}}/presence"] = {"GET": open_presence}
        table[f"{PREFIX}/runs/{{id}}/stream"] = {"GET": stream_run}
        table[f"{PREFIX}/stream"] = {"GET": stream_namespace}
        return table


def _plain(answer: Callable[[Exchange], Awaitable[None]]) -> Endpoint:
    """An endpoint that needs nothing but the request."""

    async def endpoint(
        exchange: Exchange, service: Service, principal: Principal, path: dict[str, str]
    ) -> None:
        await answer(exchange)

    return endpoint


async def _unused(message: Any) -> None:
    raise RuntimeError("endpoints answer by their exchange")


async def _no_path(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"no path {scope['path']}; {PREFIX}/docs lists them")


class _Methods:
    """What a path answers, by method."""

    def __init__(self, path: str, endpoints: dict[str, Endpoint], service: Service) -> None:
        self._path = path
        self._endpoints = endpoints
        self._service = service
        self._has_head = "GET" in endpoints and endpoints["GET"] not in _ENDLESS
        allowed = {*endpoints, "HEAD"} if self._has_head else {*endpoints}
        self._allowed = ", ".join(sorted(allowed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[_EXCHANGE]
        is_head = exchange.method == "HEAD" and self._has_head
        endpoint = self._endpoints.get("GET" if is_head else exchange.method)
        if endpoint is None:
            raise Refusal(
                405,
                f"{self._path} has no method {exchange.method}; it has {self._allowed}",
                headers=[(b"allow", self._allowed.encode())],
            )
        principal: Principal = scope.get(_PRINCIPAL, _NOBODY)
        await endpoint(exchange, self._service, principal, scope["path_params"])
