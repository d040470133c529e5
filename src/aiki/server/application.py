"""The ASGI application: it counts a request, finds its endpoint, and turns errors into problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiki.errors import Closed
from aiki.server.access import OPEN_PATHS
from aiki.server.calls import answer_calls
from aiki.server.exchange import Exchange, Gone, Receive, Scope, Send
from aiki.server.problems import problem_of
from aiki.server.service import Service
from aiki.wire.calls import PATH

logger = logging.getLogger("aiki.server")
Endpoint = Callable[[Exchange], Awaitable[None]]


class Application:
    """Answers every request; an error of its own never leaves it."""

    def __init__(self, service: Service, route: Endpoint) -> None:
        self._service = service
        self._route = route
        """Answers whatever is not a message of calls."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            if exchange.path not in OPEN_PATHS:
                exchange.enter(self._service.rooms.running)
            if exchange.path == PATH:
                await answer_calls(exchange, self._service)
            else:
                await self._route(exchange)
        except Gone:
            return
        except asyncio.CancelledError:
            # The server stops, and does not wait any longer.
            if not exchange.started:
                await exchange.respond(problem_of(Closed("the server stops"), exchange.path))
        except Exception as error:
            answer = problem_of(error, exchange.path)
            if exchange.started:
                # A stream that ends before its time is opened again by its reader.
                logger.warning("%s ends early: %r", exchange.path, error)
                await exchange.end()
            else:
                await exchange.respond(answer)
        finally:
            exchange.leave()
