"""The connection to Redis: commands, whose failures are ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiki.errors import QueueUnavailable
from aiki.queue.redis.address import CLUSTER, Address
from aiki.queue.redis.clients import Clients
from aiki.queue.redis.cluster import Cluster
from aiki.queue.redis.command import FAILURES, Answer, Command, Refusal
from aiki.queue.redis.server import Server


class Connection:
    """A pool of connections for commands that answer at once, and one for those that wait.

    A command is tried once: whoever calls knows whether to repeat it. `max_connections` limits each
    of the pools, in a cluster for each server; a command that finds none free counts as not
    answered.
    """

    def __init__(self, address: Address, *, timeout_ms: int, max_connections: int) -> None:
        self.address = address
        address.check_certificate()
        self._clients = Clients(
            address, timeout_seconds=timeout_ms / 1000, max_connections=max_connections
        )
        self._prompt: Server | Cluster | None = None
        self._patient: Server | Cluster | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether keys live on different servers, so that a command may name one only."""
        return self.address.kind == CLUSTER

    async def each(self, commands: Sequence[Command]) -> list[Answer]:
        """Run all of these; refusals stand among the answers, unless all are refused.

        What one server is asked travels together. Raises `QueueUnavailable` when all are refused,
        or when nothing is known of any.
        """
        answers = await self.each_answered(commands)
        if answers and all(isinstance(answer, Refusal) for answer in answers):
            raise self.unavailable(answers[0].text)
        return answers

    async def each_answered(self, commands: Sequence[Command]) -> list[Answer]:
        """As `each`, where refusals of all are answers, too."""
        if not commands:
            return []
        client = self._prompt = self._prompt or self._clients.open(patient=False)
        return await self._run(client, commands)

    async def one(self, command: Command) -> Any:
        """Run this; raises `QueueUnavailable` if it is refused, too."""
        (answer,) = await self.each([command])
        return answer

    async def wait(self, command: Command, wait_ms: int) -> Answer:
        """Run a command that itself waits so long, on a connection of its own."""
        client = self._patient = self._patient or self._clients.open(patient=True)
        (answer,) = await self._run(client, [command], wait_ms / 1000)
        return answer

    def unavailable(self, reason: str) -> QueueUnavailable:
        """What to raise."""
        return QueueUnavailable(f"{self.address.label} cannot be used: {reason}")

    async def close(self) -> None:
        """End all connections."""
        for client in (self._prompt, self._patient):
            if client is not None:
                await client.close()
        self._prompt = self._patient = None

    async def _run(
        self, client: Server | Cluster, commands: Sequence[Command], wait_seconds: float = 0.0
    ) -> list[Answer]:
        try:
            return await client.each(commands, wait_seconds)
        except FAILURES as error:
            raise self.unavailable(str(error) or repr(error)) from error
