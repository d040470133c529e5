"""RabbitMQ for tests: Debian's, as a node of its own with a port mapper of its own, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.services.server import Command, Service, free_port, missing, private, shared

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
_COMMAND_SECONDS = 60
_START = """\
#!/bin/sh
# The port mapper ends with whoever started it, however that ends.
setpriv --pdeathsig KILL epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
exec "{program}"
"""
_SETTINGS = """\
listeners.tcp.local = 127.0.0.1:{port}
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 1MB
"""


class RabbitMq(NamedTuple):
    """A node that runs."""

    data: Path

    @property
    def port(self) -> int:
        return int((self.data / "port").read_text("utf-8"))

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def control(self, *words: str) -> str:
        """What `rabbitmqctl` prints for this command."""
        done = subprocess.run(
            [str(PROGRAMS / "rabbitmqctl"), "--quiet", *words],
            env=os.environ | _environment(self.data), cwd=self.data,
            capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {words[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout


def service(settings: str = "") -> Service:
    """How Debian's RabbitMQ is started; `settings` are lines of its configuration."""
    needed = [str(PROGRAMS / "rabbitmq-server"), "epmd", "setpriv"]
    absent = [program for program in needed if shutil.which(program) is None]
    if absent:
        missing(f"RabbitMQ is not installed: {absent[0]} is missing")
    return Service("rabbitmq", partial(_prepare, settings), _answers)


@contextmanager
def private_node(settings: str = "") -> Iterator[RabbitMq]:
    """A node for tests that do it harm."""
    with private(service(settings)) as data:
        yield RabbitMq(data)


def _prepare(settings: str, data: Path) -> Command:
    ports = {"port": free_port(), "port-mapper": free_port(), "distribution": free_port()}
    for name, port in ports.items():
        (data / name).write_text(str(port), "utf-8")
    cookie = data / ".erlang.cookie"
    cookie.write_text(os.urandom(16).hex(), "utf-8")
    cookie.chmod(0o400)
    settings = _SETTINGS.format(port=ports["port"]) + settings
    (data / "rabbitmq.conf").write_text(settings, "utf-8")
    (data / "enabled_plugins").write_text("[].\n", "utf-8")
    start = data / "start"
    start.write_text(_START.format(program=PROGRAMS / "rabbitmq-server"), "utf-8")
    start.chmod(0o700)
    return Command([str(start)], environment=_environment(data))


def _environment(data: Path) -> dict[str, str]:
    """Of the node and of its commands."""
    return {
        "HOME": str(data),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": (data / "port-mapper").read_text("utf-8"),
        "RABBITMQ_NODENAME": f"aiki-{(data / 'port').read_text('utf-8')}@localhost",
        "RABBITMQ_DIST_PORT": (data / "distribution").read_text("utf-8"),
        "RABBITMQ_CONF_ENV_FILE": str(data / "absent.conf"),
        "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data / "logs"),
        "RABBITMQ_PID_FILE": str(data / "node.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
    }


def _answers(data: Path) -> bool:
    """Whether the node speaks: it answers a header that it does not know by its own."""
    port = data / "port"
    if not port.exists():
        return False
    try:
        with socket.create_connection(("127.0.0.1", int(port.read_text("utf-8"))), 5) as asked:
            asked.sendall(b"AMQP\x00\x00\x00\x00")
            return asked.recv(4) == b"AMQP"
    except OSError:
        return False


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMq:
    """The session's node: tests share it, and take names of their own."""
    return RabbitMq(shared(service()))
