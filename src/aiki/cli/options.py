"""What every command takes: where the database is, and how to answer."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from aiki.cli.output import Output
    from aiki.client.client import Client
    from aiki.configuration import Loaded, Settings
    from aiki.operations.base import Operation

P = ParamSpec("P")
R = TypeVar("R")


class Options:
    """The options of every command; what they need is loaded when it is asked for."""

    def __init__(self, *, as_json: bool, config: str | None, flags: dict[str, Any]) -> None:
        self.as_json = as_json
        self.config = config
        self.flags = flags

    @functools.cached_property
    def loaded(self) -> Loaded:
        """The settings, with their sources."""
        from pathlib import Path

        from aiki.configuration import load

        return load(self.flags, os.environ, Path(self.config) if self.config else None)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.loaded.settings

    @functools.cached_property
    def output(self) -> Output:
        """How to answer: a document, a table or plain lines."""
        from aiki.cli.output import Output

        return Output(self.as_json)

    def work(self, work: Callable[[Client], Awaitable[R]], *, patient: bool = False) -> R:
        """Do the work with a client of a database, which must exist, or of a server.

        What is patient waits longer for a server that does not answer.
        """
        from aiki.cli.session import with_client

        return with_client(self.settings, work, patient=patient)

    def ask(self, operation: Operation[R]) -> R:
        """The answer of one operation."""
        return self.work(lambda client: client.call(operation))

    def ask_run(self, id: str, make: Callable[[str], Operation[R]]) -> R:
        """The answer of one operation on the run that the id, or the start of one, names."""
        from aiki.cli.session import resolve

        async def work(client: Client) -> R:
            return await client.call(make(await resolve(client, id)))

        return self.work(work)


_COMMON = (
    click.option("--url", metavar="URL", help="Database or server [AIKI_URL; sqlite:///aiki.db]."),
    click.option("--namespace", metavar="NAME", help="Namespace [AIKI_NAMESPACE; default]."),
    click.option("--token", metavar="TEXT", help="For a server that asks for one [AIKI_TOKEN]."),
    click.option("--config", metavar="FILE", help="Settings [AIKI_CONFIG; aiki.toml]."),
    click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
)


def common(command: Callable[Concatenate[Options, P], R]) -> Callable[..., R]:
    """Give the command what every command takes, as its first argument."""

    @functools.wraps(command)
    def wrapped(
        url: str | None, namespace: str | None, token: str | None, config: str | None,
        as_json: bool, **rest: Any,
    ) -> R:  # fmt: skip
        flags = {"url": url, "namespace": namespace, "token": token}
        return command(Options(as_json=as_json, config=config, flags=flags), **rest)  # type: ignore[call-arg]

    decorated: Callable[..., R] = wrapped
    for option in reversed(_COMMON):
        decorated = option(decorated)
    return decorated
