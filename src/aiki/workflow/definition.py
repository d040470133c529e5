"""Workflows: named, versioned functions whose progress is durable."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
)

import msgspec

from aiki.errors import DefinitionError
from aiki.ids import new_id
from aiki.model import limits
from aiki.model.retry import Retry
from aiki.model.run import RunOptions
from aiki.model.worker import WorkflowSpec
from aiki.operations.runs import StartRun
from aiki.workflow.canonical import FORM
from aiki.workflow.event import Event
from aiki.workflow.signature import Signature
from aiki.workflow.task import milliseconds

if TYPE_CHECKING:
    from aiki.client import Client, RunHandle
    from aiki.workflow.run import Run

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Attributes = dict[str, str | int | float | bool]


class Starter(Protocol):
    """What can start runs: a client."""

    async def start(
        self, workflow: Workflow[..., R], starts: Sequence[StartRun], /
    ) -> list[RunHandle[R]]:
        """Start runs of one workflow; answers their handles in the same order."""
        ...


class Start(Generic[P]):
    """The arguments of one start, bound and checked."""

    __slots__ = ("input",)

    def __init__(self, input: bytes) -> None:
        self.input = input


class _StartOptions(msgspec.Struct, frozen=True, kw_only=True):
    reference_id: str | None = None
    on_conflict: Literal["error", "return_existing"] = "error"
    priority: int = 0
    shard: str = ""
    shard_key: str | None = None
    ordering_key: str | None = None
    delay_ms: int = 0
    timeout_ms: int | None = None
    retry: Retry | None = None
    attributes: Attributes = {}


class Workflow(Generic[P, R_co]):
    """One version of a workflow. A run keeps the version that it was started with."""

    def __init__(
        self,
        family: str,
        version: str,
        fn: Callable[..., Coroutine[Any, Any, Any]],
        *,
        retry: Retry,
        timeout_ms: int | None,
        events: Sequence[Event[Any]],
        removed: Sequence[str],
        cancel_grace_ms: int,
        shards: Sequence[str] = (),
    ) -> None:
        self.name = family
        self.version = version
        self.fn = fn
        self.retry = retry
        self.events = tuple(events)
        self.removed = frozenset(removed)
        self.cancel_grace_ms = cancel_grace_ms
        self.shards = tuple(shards)
        self.signature = Signature.of(fn, skip_first=True, what=f"workflow {family} {version}")
        self.fingerprint = _fingerprint(fn)
        self._start = _StartOptions(timeout_ms=timeout_ms)

    def __call__(self, run: Run, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Run it as a child, and await its result; cancelling the call cancels the child."""
        return run._call_child(self, args, kwargs)  # pyright: ignore[reportPrivateUsage]

    async def enqueue(
        self, client: Client, /, *args: P.args, **kwargs: P.kwargs
    ) -> RunHandle[R_co]:
        """Start a run; it is durable when this returns."""
        handles = await client.start(self, [self.start_of(self.signature.encode(args, kwargs))])
        return handles[0]

    async def enqueue_many(
        self, client: Client, calls: Iterable[Start[P]], /
    ) -> list[RunHandle[R_co]]:
        """Start many runs in one request; all or none of each batch. Make items by `call`."""
        return await client.start(self, [self.start_of(start.input) for start in calls])

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Start[P]:
        """The arguments of one start, for `enqueue_many`."""
        return Start(self.signature.encode(args, kwargs))

    def options(
        self,
        *,
        reference_id: str | None = None,
        on_conflict: Literal["error", "return_existing"] = "error",
        priority: int = 0,
        ordering_key: str | None = None,
        shard: str | None = None,
        shard_key: str | None = None,
        delay: timedelta | None = None,
        timeout: timedelta | None = None,
        retry: Retry | None = None,
        attributes: Attributes | None = None,
    ) -> Self:
        """The workflow with other options for the starts that follow.

        Runs of a workflow with the same `ordering_key` are executed one after the other, in the
        order of their starts: each from its first claim to its end, sleeps and retries included.
        `shard_key` chooses one of the workflow's shards, always the same for the same key. Raises
        `DefinitionError` for a shard that the workflow does not declare, where it declares any.
        """
        self._check_shard(shard, shard_key)
        if on_conflict not in ("error", "return_existing"):
            raise DefinitionError(f'on_conflict={on_conflict!r}: "error" or "return_existing"')
        other = copy.copy(self)
        delay_ms = milliseconds("delay", delay) if delay else 0
        other._start = msgspec.structs.replace(
            self._start,
            reference_id=reference_id,
            on_conflict=on_conflict,
            priority=priority,
            ordering_key=ordering_key,
            shard=shard or "",
            shard_key=shard_key,
            delay_ms=delay_ms or 0,
            timeout_ms=milliseconds("timeout", timeout) or self._start.timeout_ms,
            retry=retry or self._start.retry,
            attributes=attributes or self._start.attributes,
        )
        return other

    def start_of(self, input: bytes, id: str | None = None) -> StartRun:
        """One start with the options chosen."""
        chosen = self._start
        return StartRun(
            id=id or new_id(),
            workflow=self.name,
            version=self.version,
            input=input,
            shard=chosen.shard,
            shards=self.shards if chosen.shard_key is not None else (),
            priority=chosen.priority,
            reference_id=chosen.reference_id,
            on_conflict=chosen.on_conflict,
            delay_ms=chosen.delay_ms,
            options=RunOptions(
                retry=chosen.retry,
                timeout_ms=chosen.timeout_ms,
                cancel_grace_ms=self.cancel_grace_ms,
                attributes=chosen.attributes,
                canonical_form=FORM,
                ordering_key=chosen.ordering_key,
                shard_key=chosen.shard_key,
            ),
        )

    def _check_shard(self, shard: str | None, shard_key: str | None) -> None:
        if shard is not None and shard_key is not None:
            raise DefinitionError(f"shard={shard!r} and shard_key={shard_key!r}: give one of them")
        if shard_key is not None and not self.shards:
            raise DefinitionError(
                f"shard_key={shard_key!r}: workflow {self.name} {self.version} declares no shards "
                'to choose from; declare them by .version(..., shards=["eu-west", "us-east"])'
            )
        if shard and self.shards and shard not in self.shards:
            raise DefinitionError(
                f"shard={shard!r}: workflow {self.name} {self.version} declares "
                f"{', '.join(self.shards)}"
            )

    def spec(self) -> WorkflowSpec:
        """What a worker tells the server about it."""
        return WorkflowSpec(
            name=self.name,
            version=self.version,
            fingerprint=self.fingerprint,
            input_schema=self.signature.schema(),
            output_schema=self.signature.returns.schema(),
            events=tuple(ev.name for ev in self.events),
            options={"cancel_grace_ms": self.cancel_grace_ms},
            canonical_form=FORM,
        )

    def __repr__(self) -> str:
        return f"<workflow {self.name} {self.version}>"


class WorkflowFamily:
    """A workflow's name, under which versions live side by side."""

    def __init__(self, name: str) -> None:
        _check(f"workflow name {name!r}", name)
        self.name = name

    def version(
        self,
        version: str,
        *,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        events: Sequence[Event[Any]] = (),
        removed: Sequence[str] = (),
        cancel_grace: timedelta = timedelta(seconds=60),
        shards: Sequence[str] = (),
    ) -> Callable[[Callable[Concatenate[Run, P], Coroutine[Any, Any, R]]], Workflow[P, R]]:
        """Define a version.

        `removed` names tasks that older runs recorded and this code no longer calls;
        `cancel_grace` is the time that a cancelled run may take to clean up. `shards` are those
        that `options(shard_key=...)` chooses from; a worker names the shards that it serves.
        """
        _check(f"version {version!r} of workflow {self.name}", version)
        grace_ms = milliseconds("cancel_grace", cancel_grace) or 0
        timeout_ms = milliseconds("timeout", timeout)
        if isinstance(shards, str) or len(set(shards)) < len(shards):
            raise DefinitionError(f"shards={shards!r}: a list of different names")
        for shard in shards:
            _check(f"shard {shard!r} of workflow {self.name} {version}", shard)

        def decorate(
            fn: Callable[Concatenate[Run, P], Coroutine[Any, Any, R]],
        ) -> Workflow[P, R]:
            if not inspect.iscoroutinefunction(fn):
                raise DefinitionError(
                    f"workflow {self.name} {version} must be an `async def`; "
                    "put blocking code into tasks"
                )
            return Workflow(
                self.name,
                version,
                fn,
                retry=retry or Retry.never(),
                timeout_ms=timeout_ms,
                events=events,
                removed=removed,
                cancel_grace_ms=grace_ms,
                shards=shards,
            )

        return decorate


def workflow(name: str) -> WorkflowFamily:
    """Name a workflow; its versions are made by `.version("1.0.0")`.

    Raises `DefinitionError` for a name that cannot be part of a queue's key.
    """
    return WorkflowFamily(name)


def _check(what: str, name: str) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= limits.NAME_LENGTH:
        raise DefinitionError(f"{what}: 1 to {limits.NAME_LENGTH} characters")
    bad = [character for character in name if character in ":@{}#" or not character.isprintable()]
    if bad:
        raise DefinitionError(
            f"{what} holds {bad[0]!r}; leave out ':', '@', '#', braces and controls"
        )


def _fingerprint(fn: Callable[..., Any]) -> str:
    """Hash of the source; of the compiled code where there is no source."""
    try:
        source = inspect.getsource(fn).encode()
    except (OSError, TypeError):
        code = fn.__code__
        source = code.co_code + repr((code.co_names, code.co_varnames)).encode()
    return hashlib.sha256(source).hexdigest()[:16]
