"""Ports: what a server listens on, taken and judged before anything else is touched."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from importlib.util import find_spec
from typing import NamedTuple

from aiki.configuration import Loaded, Settings
from aiki.errors import ConfigurationError

_BACKLOG = 2_048
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_Address = tuple[int, tuple[str, int]]
_GRPC_MODULES = ("grpc", "grpc_health", "grpc_reflection", "google.protobuf")


class Ports(NamedTuple):
    """A socket that listens for HTTP, and one that holds the port of gRPC for whoever serves it."""

    http: socket.socket
    grpc: socket.socket | None
    tls: bool

    @property
    def url(self) -> str:
        """Where HTTP is answered."""
        return f"http{'s' if self.tls else ''}://{_reachable(self.http)}"

    @property
    def grpc_url(self) -> str | None:
        """Where gRPC is answered."""
        if self.grpc is None:
            return None
        return f"grpc{'s' if self.tls else ''}://{_reachable(self.grpc)}"

    def close(self) -> None:
        """Let go of them; whoever serves them has them open too."""
        for held in (self.http, self.grpc):
            if held is not None:
                held.close()


def _reachable(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = _WILDCARDS.get(host) or str(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_exposure(settings: Settings) -> None:
    """Raise for a server that strangers could reach, and that asks for no token."""
    if settings.token or settings.insecure:
        return
    for _, (address, _) in _addresses(settings.host, settings.port):
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            raise ConfigurationError(
                f"host {settings.host} can be reached from other machines, and no token is asked "
                "for: set AIKI_TOKEN_FILE or AIKI_TOKEN, listen on 127.0.0.1, or say --insecure"
            )


def _addresses(host: str, port: int) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"host {host!r} has no address ({error}); choose another"
        ) from None
    return [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


def grpc_port(loaded: Loaded) -> int | None:
    """The port of gRPC; None where it was not asked for and is not installed."""
    port = loaded.settings.grpc_port
    if port is None or all(_is_installed(each) for each in _GRPC_MODULES):
        return port
    if loaded.sources["grpc_port"] == "default":
        return None
    raise ConfigurationError("gRPC is not installed: pip install 'aiki[grpc]', or --grpc-port none")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What HTTPS needs; None for plaintext. gRPC reads the same files by itself."""
    if settings.tls_certificate_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file)
    except OSError as error:
        raise ConfigurationError(
            f"tls_certificate_file {settings.tls_certificate_file} and tls_key_file "
            f"{settings.tls_key_file} cannot be used: {error}"
        ) from None
    return context


def open_ports(settings: Settings, grpc: int | None) -> Ports:
    """Take the ports; raises `ConfigurationError` where one is taken."""
    http = _listen(settings.host, settings.port)
    try:
        held = None if grpc is None else _hold(settings.host, grpc)
    except BaseException:
        http.close()
        raise
    return Ports(http, held, settings.tls_certificate_file is not None)


def _listen(host: str, port: int) -> socket.socket:
    family, address = _addresses(host, port)[0]
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise _taken(host, port, "--port", error) from None


def _hold(host: str, port: int) -> socket.socket:
    """Bind without listening: the processes that share the port bind it again, by SO_REUSEPORT."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError("gRPC is not served on this system: say --grpc-port none")
    family, address = _addresses(host, port)[0]
    try:
        # Sharing must not go unnoticed: whoever listens there already is another server.
        if port:
            socket.create_server(address, family=family).close()
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:
        raise _taken(host, port, "--grpc-port", error) from None
    return holder


def _taken(host: str, port: int, option: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot listen on {host}:{port} ({error.strerror}); choose another by {option}"
    )
