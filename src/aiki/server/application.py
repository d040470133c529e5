"""The ASGI application: it counts a request, finds its endpoint, and turns errors into problems."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiki.server.calls import answer_calls
from aiki.server.exchange import Exchange, Gone, Receive, Scope, Send
from aiki.server.problems import problem_of
from aiki.server.service import Service
from aiki.wire.calls import PATH

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
            exchange.enter(self._service.rooms.running)
            if exchange.path == PATH:
                await answer_calls(exchange, self._service)
            else:
                await self._route(exchange)
        except Gone:
            return
        except Exception as error:
            if exchange.started:
                # What was sent cannot be taken back: a cut stream shows that it is not whole.
                raise
            await exchange.respond(problem_of(error, exchange.path))
        finally:
            exchange.leave()
