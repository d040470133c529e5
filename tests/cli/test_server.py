"""`aiki server` and `aiki worker` as processes: they serve, drain, and outlive what dies."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiki.ids import new_id
from tests.cli.conftest import APPLICATION, LONGEST, Call, Process
from tests.queue.brokers import KINDS, shared_broker
from tests.services import postgres

Start = Callable[..., Process]
OFFERED = "shop.py:OFFERED"
ANY = ("--port", "0", "--grpc-port", "none", "--json")
TOKEN = "correct-horse-battery-staple"
postgres_url = postgres.postgres_url
_PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text("utf-8")
GRANTS = _PAGE.split("```sql\n")[1].split("```")[0]


@pytest.fixture(autouse=True)
def shop(place: Path) -> Path:
    """The application's file in this folder."""
    return Path(shutil.copy(APPLICATION, place / "shop.py"))


def ready(process: Process) -> Any:
    """What the process says when it is ready."""
    return msgspec.json.decode(process.until('"ready"'))


def get(url: str, token: str | None = None) -> tuple[int, bytes]:
    """Status and body of a plain GET."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=LONGEST.total_seconds()
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def completes(call: Call, start: Start, url: str) -> None:
    """A run that is started through the server is executed by a worker elsewhere."""
    run = call("runs", "start", "quick", "1.0.0", '{"n": 2}', "--url", url).out.strip()
    watch = start("runs", "watch", run, "--url", url)
    assert watch.ended() == 0
    assert watch.lines[-1].endswith("completed\treturned\t3\n")


@pytest.mark.parametrize("protocol", ["url", "grpc_url"])
def test_a_worker_elsewhere_executes_what_the_command_line_starts(
    call: Call, start: Start, protocol: str
) -> None:
    server = start("server", "--port", "0", "--grpc-port", "0", "--json")
    url = ready(server)[protocol]
    worker = start("worker", OFFERED, "--url", url)
    worker.until("ready\t")
    completes(call, start, url)
    for process in (worker, server):
        process.popen.send_signal(signal.SIGTERM)
        assert process.ended() == 0


async def test_a_role_without_rights_on_the_schema_serves_what_its_owner_migrated(
    call: Call, start: Start, postgres_url: str
) -> None:
    """The roles are those that the page about deployment grants."""
    aside = asyncio.to_thread
    early = start("server", "--url", postgres_url, "--migrate", "no", *ANY)
    assert await aside(early.ended) == 1
    assert "aiki migrate" in early.lines[-1]
    migrated = await aside(call, "migrate", "--url", postgres_url, "--json")
    assert migrated.json["before"] == 0
    assert len(migrated.json["applied"]) == migrated.json["schema"]
    again = await aside(call, "migrate", "--url", postgres_url)
    assert again.rows[-1] == ["applied", "nothing: the schema is up to date"]

    schema = postgres_url.rpartition("schema=")[2]
    role = f"server_{schema}"
    text = GRANTS.replace("aiki_server", role).replace("SCHEMA public", f"SCHEMA {schema}")
    await postgres.execute(postgres_url.rpartition("schema=")[0].rstrip("?&"), text)
    url = postgres_url.replace("//aiki@", f"//{role}@")
    refused = await aside(call, "migrate", "--url", url.replace(schema, f"{schema}_other"))
    assert refused.code == 1
    server = start("server", "--url", url, "--migrate", "no", *ANY)
    served = ready(server)["url"]
    start("worker", OFFERED, "--url", served).until("ready\t")
    await aside(completes, call, start, served)
    listed = await aside(call, "runs", "list", "--url", url)
    assert [row[3] for row in listed.rows] == ["completed"]
    server.popen.send_signal(signal.SIGTERM)
    assert await aside(server.ended) == 0


def test_a_worker_of_a_server_elsewhere_loads_neither_engine_nor_driver(start: Start) -> None:
    url = ready(start("server", *ANY))["url"]
    program = (
        "import sys; from aiki.cli import main; "
        "sys.stdout.write = lambda text: print(text, sorted(sys.modules), file=sys.stderr); "
        f"main(['worker', 'shop.py:OFFERED', '--url', {url!r}])"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert worker.stderr is not None
    loaded = next(line for line in worker.stderr if line.startswith("ready"))
    worker.terminate()
    worker.communicate()
    assert "aiki.worker" in loaded
    for module in ("aiki.engine", "aiki.store", "aiki.server", "asyncpg", "asyncmy", "grpc"):
        assert f"'{module}'" not in loaded


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_between_server_and_worker_is_one_setting(
    call: Call, start: Start, kind: str
) -> None:
    queue = shared_broker(kind, new_id()).url
    url = ready(start("server", *ANY, "--queue", queue))["url"]
    worker = start("worker", OFFERED, "--url", url, "--queue", queue)
    worker.until("ready\t")
    completes(call, start, url)
    assert msgspec.json.decode(get(f"{url}/readyz")[1])["queue"] == "answers"
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.ended() == 0


@pytest.mark.parametrize(
    ("url", "queue", "fix"),
    [
        ("sqlite:///a.db", "redis://127.0.0.1:1", "queue is for a server elsewhere"),
        ("http://127.0.0.1:1", "kafka://127.0.0.1:1", "names no broker that Aiki knows"),
        ("http://127.0.0.1:1", "redis://127.0.0.1:1?prefx=a", "known are prefix"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(start: Start, url: str, queue: str, fix: str) -> None:
    worker = start("worker", OFFERED, "--url", url, "--queue", queue)
    assert worker.ended() == 1
    assert worker.lines[-1].startswith("error: ")
    assert fix in worker.lines[-1]


def test_a_worker_waits_for_its_server(call: Call, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    worker = start("worker", OFFERED, "--url", f"http://127.0.0.1:{port}")
    worker.until("127.0.0.1")
    start("server", "--port", str(port), "--grpc-port", "none").until("ready\t")
    worker.until("ready\t")
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.ended() == 0


@pytest.mark.parametrize("words", [(), ("--token", "wrong")])
def test_a_worker_that_is_not_let_in_says_so_and_ends(
    start: Start, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("AIKI_TOKEN", TOKEN)
    url = ready(start("server", *ANY))["url"]
    monkeypatch.delenv("AIKI_TOKEN")
    worker = start("worker", OFFERED, "--url", url, *words)
    assert worker.ended() == 1
    assert worker.lines[-1].startswith("error: ")
    assert "token" in worker.lines[-1]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_first_signal_drains(call: Call, start: Start, processes: str) -> None:
    server = start("server", *ANY, "--processes", processes)
    url = ready(server)["url"]
    run = call("runs", "start", "waiting", "1.0.0", "--unseen", "--url", url).out.strip()
    # A call that waits must not hold up the stop until its time is over.
    watch = start("runs", "watch", run, "--url", url)
    watch.until("queued")
    server.popen.send_signal(signal.SIGTERM)
    assert server.popen.wait(5) == 0
    assert server.ended() == 0
    watch.popen.kill()
    # What was accepted is there for the next server.
    again = ready(start("server", *ANY))["url"]
    assert dict(call("runs", "show", run, "--url", again).rows)["status"] == "queued"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_second_signal_ends_it_at_once(start: Start, processes: str) -> None:
    drain = ("--graceful-shutdown-timeout-ms", "60000")
    server = start("server", *ANY, *drain, "--processes", processes)
    url = ready(server)["url"]
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as busy:
        head = b"POST /api/v1/runs HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
        head += b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
        busy.sendall(head)
        # Were it not known to be accepted, the drain might have nothing to wait for.
        assert busy.recv(100).startswith(b"HTTP/1.1 100 ")
        server.popen.send_signal(signal.SIGTERM)
        server.until("draining")
        server.popen.send_signal(signal.SIGTERM)
        # It may be past its handlers by then; a shell sees the same.
        code = server.popen.wait(LONGEST.total_seconds())
        assert code in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_a_process_that_dies_is_replaced_and_service_goes_on(call: Call, start: Start) -> None:
    server = start("server", *ANY, "--processes", "2")
    said = ready(server)
    first, second = said["processes"]
    os.kill(first, signal.SIGKILL)
    assert call("runs", "list", "--url", said["url"]).code == 0
    server.until(f"server process {first} ended by signal 9")
    os.kill(second, signal.SIGKILL)
    # Who keeps dying is started later and later.
    server.until(f"server process {second} ended by signal 9; another starts in 0.4 s")
    # Both are gone: whoever connects waits for the next one, because the port stays open.
    assert call("runs", "list", "--url", said["url"]).code == 0
    server.popen.send_signal(signal.SIGTERM)
    assert server.ended() == 0


def test_processes_end_with_their_parent(start: Start) -> None:
    server = start("server", *ANY, "--processes", "2")
    ready(server)
    server.popen.kill()
    # The pipe ends when the last process that holds it has ended.
    assert server.ended() == -signal.SIGKILL
    assert "the parent is gone" in "".join(server.lines)


def test_a_first_failure_ends_all_processes(start: Start, place: Path) -> None:
    (place / "aiki.db").write_text("no database " * 99)
    server = start("server", *ANY, "--processes", "3")
    assert server.ended() == 1
    errors = [line for line in server.lines if line.startswith("error: ")]
    assert errors
    assert all("aiki.db" in line for line in errors)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_strangers_are_kept_out_unless_told_otherwise(
    call: Call, start: Start, place: Path, host: str
) -> None:
    answer = call("server", "--host", host, *ANY)
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert "--insecure" in answer.err
    assert not (place / "aiki.db").exists()


def test_insecure_is_said_aloud(start: Start) -> None:
    server = start("server", "--host", "0.0.0.0", "--insecure", *ANY)
    assert get(ready(server)["url"] + "/readyz")[0] == 200


def test_a_token_is_asked_for(
    call: Call, start: Start, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "tokens").write_text(f"{TOKEN}\nold-{TOKEN}\n")
    monkeypatch.setenv("AIKI_TOKEN_FILE", "tokens")
    server = start("server", "--host", "0.0.0.0", "--port", "0", "--grpc-port", "0", "--json")
    said = ready(server)
    assert TOKEN not in "".join(server.lines)
    for url in (said["url"], said["grpc_url"]):
        assert call("runs", "list", "--url", url).code == 0
        assert call("runs", "list", "--url", url, "--token", f"old-{TOKEN}").code == 0
        refused = call("runs", "list", "--url", url, "--token", f"wrong-{TOKEN}")
        assert refused.code == 1
        assert "token" in refused.err
        assert TOKEN not in refused.err
    assert get(said["url"] + "/api/v1/runs")[0] == 401
    assert get(said["url"] + "/api/v1/runs", TOKEN)[0] == 200
    assert get(said["url"] + "/healthz")[0] == 200
    worker = start("worker", OFFERED, "--url", said["url"])
    worker.until("ready\t")


def test_tls(call: Call, start: Start, place: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
         "key.pem", "-out", "chain.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    (place / "aiki.toml").write_text(
        'tls_certificate_file = "chain.pem"\ntls_key_file = "key.pem"\n'
    )
    url = ready(start("server", *ANY))["url"]
    trusted = ssl.create_default_context(cafile="chain.pem")
    with urllib.request.urlopen(f"{url}/healthz", context=trusted) as answer:
        assert answer.status == 200
    (place / "key.pem").unlink()
    refused = call("server", *ANY)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "key.pem" in refused.err


@pytest.mark.parametrize(
    "mistake",
    [
        (("--port", "70000"), {}, "<= 65535"),
        (("--processes", "0"), {}, ">= 1"),
        (("--migrate", "perhaps"), {}, "one of yes, no"),
        (("--url", "http://localhost:8080"), {}, "a database is needed"),
        (("--url", "oracle://host/db"), {}, "no URL that Aiki knows"),
        (("--host", "no.such.host.invalid"), {}, "has no address"),
        (("--host", "192.0.2.1", "--insecure"), {}, "choose another by --port"),
        ((), {"AIKI_PROT": "8080"}, "did you mean AIKI_PORT?"),
        ((), {"AIKI_TOKEN_FILE": "none"}, "cannot be read"),
        ((), {"AIKI_READ_URL": "postgresql://replica/db"}, "read_url is for PostgreSQL"),
        ((), {"AIKI_TLS_KEY_FILE": "key.pem"}, "TLS takes both"),
    ],
)
def test_a_mistake_touches_nothing(
    call: Call,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: tuple[tuple[str, ...], dict[str, str], str],
) -> None:
    words, environment, fix = mistake
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answer = call("server", *words, *(() if words[:1] == ("--port",) else ANY))
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert fix in answer.err
    assert list(place.glob("aiki.db*")) == []


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_that_is_taken_is_named(call: Call, place: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ports = {"--port": "0", "--grpc-port": "0"} | {option: port}
        answer = call("server", *(word for pair in ports.items() for word in pair))
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert port in answer.err
    assert option in answer.err
    assert not (place / "aiki.db").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_a_server_that_does_not_answer_is_named(call: Call, url: str) -> None:
    answer = call("runs", "list", "--url", url)
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert "127.0.0.1:9" in answer.err


@pytest.fixture
def notified(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(LONGEST.total_seconds())
        listener.bind(str(place / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(place / "notify"))
        yield listener


@pytest.mark.parametrize(
    "words", [("server", *ANY), ("server", *ANY, "--processes", "2"), ("worker", OFFERED)]
)
def test_the_service_manager_is_told(
    start: Start, notified: socket.socket, words: tuple[str, ...]
) -> None:
    process = start(*words)
    assert notified.recv(99) == b"READY=1"
    process.popen.send_signal(signal.SIGTERM)
    assert notified.recv(99) == b"STOPPING=1"
    assert process.ended() == 0
