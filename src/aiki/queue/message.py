"""A message: one run is ready. It carries no payload and no authority; the claim alone decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from aiki.operations.work import Hint

FORMAT = "1"
_DEFAULT_NAMESPACE = "default"
_KEY = "workflow:"
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST = 300
"""Characters of a name that a message may hold."""


class MalformedMessage(Exception):
    """No message of Aiki's; the text says why."""


class Queue(NamedTuple):
    """Where the messages of a workflow's shard go; all versions share it."""

    namespace: str
    workflow: str
    shard: str = ""

    @property
    def key(self) -> str:
        """Its name at the broker: `workflow:orders`, `workflow:orders:eu-west`; other namespaces
        than the default one stand before it, as in `acme:workflow:orders`.
        """
        prefix = "" if self.namespace == _DEFAULT_NAMESPACE else f"{self.namespace}:"
        suffix = f":{self.shard}" if self.shard else ""
        return f"{prefix}{_KEY}{self.workflow}{suffix}"


class Message(NamedTuple):
    """A run of this queue and version became ready."""

    queue: Queue
    version: str
    run_id: str

    @property
    def hint(self) -> Hint:
        """What a claim is told of it."""
        return Hint(self.run_id, self.queue.workflow, self.version, self.queue.shard)

    def fields(self) -> dict[str, str]:
        """Its content: the queue is known from where it lies."""
        return {"v": FORMAT, "run": self.run_id, "version": self.version}


def parse(queue: Queue, fields: Mapping[str, str]) -> Message:
    """The message that was found in a queue with this content.

    Raises `MalformedMessage` for anything that `Message.fields` would not have made.
    """
    unknown = sorted(fields.keys() - {"v", "run", "version"})
    if unknown:
        raise MalformedMessage(f"it has a field {unknown[0][:_LONGEST]!r}")
    if fields.get("v") != FORMAT:
        raise MalformedMessage(f"its format is {fields.get('v', '')[:_LONGEST]!r}, not {FORMAT!r}")
    run_id = fields.get("run", "")
    if _RUN_ID.fullmatch(run_id) is None:
        raise MalformedMessage(f"{run_id[:_LONGEST]!r} is no id of a run")
    version = fields.get("version", "")
    if not 1 <= len(version) <= _LONGEST:
        raise MalformedMessage("it names no version")
    return Message(queue, version, run_id)
