"""The servers of a cluster: what is asked of one of them together travels together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ResponseError,
    SlotNotCoveredError,
)

from aiki.queue.redis.command import FAILURES, Answer, Command, Refusal, in_time

if TYPE_CHECKING:
    from redis.asyncio import RedisCluster

_MOST_ROUNDS = 5
"""How often a command is sent, where servers send it on."""
_ASKING = "ASKING"


class _Place(NamedTuple):
    """Where a command is to be sent."""

    node: ClusterNode
    is_guest: bool = False
    """Its slot is about to move there, and its key has moved already."""


class Cluster:
    """Sends each command to the server that has its key, and follows keys that move.

    Trouble with one server is no trouble with the others: it stands among the answers. The library
    keeps the connections, and knows which server has a slot; its own ways to run a command take a
    connection for each.
    """

    def __init__(self, client: RedisCluster, timeout_seconds: float) -> None:
        self._client = client
        self._nodes: Any = client.nodes_manager
        self._timeout_seconds = timeout_seconds
        self._doubted: str | None = None
        """A server that failed: others may have its slots by now."""

    async def each(self, commands: Sequence[Command], wait_seconds: float = 0.0) -> list[Answer]:
        """Run all of these, which may wait for so long; refusals stand among the answers.

        Raises what the library raises while no server tells which keys it has.
        """
        await self._learn()
        # Where there is no answer yet stands where to ask for it.
        answers: list[Any] = [self._place_of(command) for command in commands]
        for _ in range(_MOST_ROUNDS):
            asked: defaultdict[_Place, list[int]] = defaultdict(list)
            for number, answer in enumerate(answers):
                if isinstance(answer, _Place):
                    asked[answer].append(number)
            if not asked:
                break
            found = await asyncio.gather(
                *(
                    self._ask(place, [commands[number] for number in numbers], wait_seconds)
                    for place, numbers in asked.items()
                )
            )
            for numbers, those in zip(asked.values(), found, strict=True):
                for number, answer in zip(numbers, those, strict=True):
                    answers[number] = answer
        return [_final(answer) for answer in answers]

    async def close(self) -> None:
        """End all connections."""
        await self._nodes.aclose()
        await self._nodes.aclose("startup_nodes")

    async def _learn(self) -> None:
        """Ask who has which slots, at first and after a failure."""
        if self._nodes.slots_cache and self._doubted is None:
            return
        doubted, self._doubted = self._doubted, None
        try:
            async with in_time(self._timeout_seconds):
                await self._nodes.initialize(last_failed_node_name=doubted)
        except FAILURES:
            if not self._nodes.slots_cache:
                raise

    def _place_of(self, command: Command) -> _Place | Exception:
        try:
            node = self._client.get_node_from_key(command.key)
        except SlotNotCoveredError as error:
            self._doubted = ""
            return error
        assert node is not None
        return _Place(node)

    async def _ask(
        self, place: _Place, commands: Sequence[Command], wait_seconds: float
    ) -> list[Any]:
        """What this server says to each, in one write; or where else to ask."""
        sent = [PipelineCommand(number, *each.words) for number, each in enumerate(commands)]
        if place.is_guest:
            whole = [each for command in sent for each in (PipelineCommand(0, _ASKING), command)]
        else:
            whole = sent
        try:
            async with in_time(wait_seconds + self._timeout_seconds):
                await place.node.execute_pipeline(whole)
        except FAILURES as error:
            for each in sent:
                each.result = error
        return [await self._followed(place, each.result) for each in sent]

    async def _followed(self, place: _Place, answer: Any) -> Any:
        if isinstance(answer, MovedError):
            await self._nodes.move_slot(answer)
            return _Place(self._nodes.get_node_from_slot(answer.slot_id))
        if isinstance(answer, AskError):
            return _Place(self._node_at(answer), is_guest=True)
        if isinstance(answer, ClusterDownError) or (
            isinstance(answer, Exception) and not isinstance(answer, ResponseError)
        ):
            self._doubted = place.node.name
        return answer

    def _node_at(self, told: Any) -> ClusterNode:
        """Of a server that has no slots yet nobody was told."""
        known: ClusterNode | None = self._nodes.get_node(told.host, told.port)
        if known is None:
            known = ClusterNode(told.host, told.port, **self._nodes.connection_kwargs)
            self._nodes.set_nodes(self._nodes.nodes_cache, {known.name: known})
        return known


def _final(answer: Any) -> Answer:
    if isinstance(answer, _Place):
        return Refusal("MOVED", f"it was sent on to {answer.node.name} and nowhere obeyed")
    return Refusal.of(answer) if isinstance(answer, Exception) else answer
