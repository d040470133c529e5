"""`aiki server`: answers clients and workers, in one process or in several that share its ports."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from aiki.cli.options import Options, common

if TYPE_CHECKING:
    from aiki.cli.output import Output
    from aiki.cli.ports import Ports
    from aiki.compose import Node
    from aiki.configuration import Settings


@click.command()
@click.option("--host", metavar="HOST", help="Address to listen on [127.0.0.1].")
@click.option("--port", metavar="PORT", help="Port of HTTP; 0: any [8080].")
@click.option("--grpc-port", metavar="PORT", help="Port of gRPC; 0: any; none: no gRPC [7070].")
@click.option("--queue", metavar="URL", help="Broker that announces ready runs [none].")
@click.option("--processes", metavar="N", help="Processes that share the ports [1].")
@click.option("--migrate", metavar="YES|NO", help="Bring the schema up to date first [yes].")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without a token.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error [info].")
@click.option(
    "--graceful-shutdown-timeout-ms", metavar="MS", help="Longest drain of a stop [5000]."
)
@common
def server(options: Options, /, *, insecure: bool, **flags: str | None) -> int:
    """Serve a database to clients and workers, over HTTP and gRPC.

    The first SIGTERM or SIGINT drains; a second one ends it at once.
    """
    options.flags |= flags | {"insecure": True if insecure else None}
    from aiki.cli.logs import configure_logging
    from aiki.cli.ports import grpc_port, open_ports, refuse_exposure, tls_context
    from aiki.cli.serving import node_of
    from aiki.cli.session import store_of

    settings = options.settings
    refuse_exposure(settings)
    tls, grpc = tls_context(settings), grpc_port(options.loaded)
    store = store_of(settings, migrate=settings.migrate)
    configure_logging(settings)
    with closing(open_ports(settings, grpc)) as ports:
        return _run(settings, ports, node_of(settings, store, ports, tls), options.output)


def _run(settings: Settings, ports: Ports, node: Node, output: Output) -> int:
    """Serve here, or in processes that a supervisor looks after."""
    import os

    from aiki.cli.notify import STOPPING, notify
    from aiki.cli.serving import serve
    from aiki.cli.supervisor import Seat, Supervisor
    from aiki.errors import ConfigurationError

    def stopping() -> None:
        notify(STOPPING)

    def announce(processes: list[int]) -> None:
        _announce(ports, processes, output)

    if settings.processes == 1:
        return serve(
            settings, ports, node, on_ready=lambda: announce([os.getpid()]), on_stop=stopping
        )

    if not hasattr(os, "fork"):
        raise ConfigurationError("this system cannot share ports: say --processes 1")

    def work(seat: Seat) -> int:
        def ready() -> None:
            os.write(seat.ready_pipe, b"1")

        return serve(
            settings, ports, node, on_ready=ready, on_stop=lambda: None, lifeline=seat.lifeline
        )

    drain_seconds = settings.graceful_shutdown_timeout_ms / 1000
    return Supervisor(
        settings.processes, work, on_ready=announce, on_stop=stopping, drain_seconds=drain_seconds
    ).run()


def _announce(ports: Ports, processes: list[int], output: Output) -> None:
    """Say that it is ready, to people, scripts and systemd."""
    from aiki.cli.notify import READY, notify

    if output.as_json:
        output.json_line(
            {
                "ready": True, "url": ports.url, "grpc_url": ports.grpc_url,
                "processes": processes,
            }
        )  # fmt: skip
    else:
        output.line("ready", ports.url, *([ports.grpc_url] if ports.grpc_url else []))
    notify(READY)
