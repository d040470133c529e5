"""Listening: the socket of a server, and how the kernel watches over those who connect to it."""

from __future__ import annotations

import socket

from aiki.server.settings import ServerSettings


def listening_socket(settings: ServerSettings) -> socket.socket:
    """A socket that listens; raises `OSError` where the address cannot be taken."""
    address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(
        address[4][:2],
        family=address[0],
        backlog=settings.backlog,
        reuse_port=settings.reuse_port,
    )


def watch_peers(listening: socket.socket, settings: ServerSettings) -> None:
    """Let the kernel notice hosts that vanished, and send at once; connections inherit this."""
    timeout_ms = settings.peer_timeout_ms
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        # An answer of several parts must not wait for the acknowledgement of its first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = {
        "TCP_KEEPIDLE": max(1, timeout_ms // 3_000),
        "TCP_KEEPINTVL": max(1, timeout_ms // 3_000),
        "TCP_KEEPCNT": 2,
        "TCP_USER_TIMEOUT": timeout_ms,
    }
    for name, value in options.items():
        option = getattr(socket, name, None)
        if option is not None and listening.family in (socket.AF_INET, socket.AF_INET6):
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
