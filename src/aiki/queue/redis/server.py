"""The server that has all keys: the only one, or the master that Sentinels name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from aiki.queue.redis.command import Answer, Command, Refusal, in_time

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Server:
    """Sends all commands of a batch in one write."""

    def __init__(
        self, client: Redis, timeout_seconds: float, sentinels: Sequence[Redis] = ()
    ) -> None:
        self._client: Any = client
        self._timeout_seconds = timeout_seconds
        self._sentinels = sentinels
        """The client that they lead to does not close the connections to them."""

    async def each(self, commands: Sequence[Command], wait_seconds: float = 0.0) -> list[Answer]:
        """Run all of these, which may wait for so long; refusals stand among the answers.

        Raises what the library raises when nothing is known of any.
        """
        async with in_time(wait_seconds + self._timeout_seconds):
            if len(commands) == 1:
                return [await self._alone(commands[0])]
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command.words)
            found: list[Any] = await pipeline.execute(raise_on_error=False)
        return [_answer(each) for each in found]

    async def close(self) -> None:
        """End all connections."""
        for client in (self._client, *self._sentinels):
            await client.aclose()

    async def _alone(self, command: Command) -> Answer:
        try:
            return await self._client.execute_command(*command.words)
        except ResponseError as error:
            return Refusal.of(error)


def _answer(found: Any) -> Answer:
    if isinstance(found, ResponseError):
        return Refusal.of(found)
    if isinstance(found, Exception):
        raise found
    return found
