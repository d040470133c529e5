"""The image and the composition follow their rules; neither needs a container engine to be read."""

import json
import re
import shlex

import pytest

from aiki.configuration import Settings, load
from tests.deploy.manifests import DEPLOY, Document, documents

DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
IGNORED = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
(COMPOSE,) = documents((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Document] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if name != "postgres"}


def instructions() -> list[tuple[str, str]]:
    """The instructions, each on one line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split()[-1]
        found.setdefault(name, []).append((word, rest))
    return found


def test_bases_are_pinned_and_stages_named() -> None:
    names = list(stages())
    assert names == ["build", "runtime", "worker", "server"]
    for word, rest in instructions():
        if word == "FROM":
            base = rest.split()[0]
            assert base in names or re.fullmatch(r"python:\d+\.\d+\.\d+-[\w-]+", base), base


def test_nothing_is_fetched_but_packages() -> None:
    assert not any(word == "ADD" for word, _ in instructions())
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCKERFILE)
    assert "curl" not in DOCKERFILE
    assert not re.search(r"--(?:extra-)?index-url|PIP_INDEX_URL", DOCKERFILE)


def test_it_runs_as_nobody_in_particular() -> None:
    runtime = stages()["runtime"]
    assert runtime[-3:] == [
        ("USER", "10001:10001"), ("STOPSIGNAL", "SIGTERM"), ("ENTRYPOINT", '["aiki"]'),
    ]  # fmt: skip
    for name in ("server", "worker"):
        assert not any(word in ("USER", "RUN", "ENTRYPOINT") for word, _ in stages()[name])


@pytest.mark.parametrize("name", ["server", "worker"])
def test_commands_are_in_exec_form(name: str) -> None:
    commands = [rest for word, rest in stages()[name] if word == "CMD"]
    assert json.loads(commands[-1])[0] == name


def test_the_server_says_whether_it_is_healthy() -> None:
    (check,) = [rest for word, rest in stages()["server"] if word == "HEALTHCHECK"]
    command = json.loads(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    assert "/healthz" in command[2]
    compile(command[2], "healthcheck", "exec")
    assert ("HEALTHCHECK", "NONE") in stages()["worker"]


def test_ports_are_the_defaults() -> None:
    assert ("EXPOSE", f"{Settings().port} {Settings().grpc_port}") in stages()["server"]


def test_what_is_copied_is_not_ignored() -> None:
    kept = {line[1:] for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            parts = [part for part in shlex.split(rest)[:-1] if not part.startswith("--")]
            assert {part.removeprefix("./") for part in parts} <= kept
            assert all((DEPLOY.parent / part).exists() for part in parts)


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_hardened(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    load({}, {key: value for key, value in service["environment"].items() if "_FILE" not in key})


def test_images_are_pinned() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w-]+:\d[\w.-]+", service["image"])


def test_secrets_are_files_that_git_does_not_take() -> None:
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert (DEPLOY / "secrets" / ".gitignore").read_text("utf-8").splitlines()[1] == "*"
    for service in SERVICES.values():
        named = set(service.get("secrets", []))
        assert named <= set(COMPOSE["secrets"])
        used = re.findall(r"/run/secrets/(\w+)", str(service.get("environment", {})))
        assert set(used) == named


def test_each_waits_for_what_it_needs() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            if condition == "service_healthy":
                healthy = "healthcheck" in SERVICES[other] or (
                    SERVICES[other]["build"]["target"] == "server"
                )
                assert healthy, other
            else:
                assert condition == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no"


def test_servers_are_published_on_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    inside = {str(Settings().port), str(Settings().grpc_port)}
    assert len(published) == len(set(published)) == 4
    for port in published:
        address, _, target = port.rpartition(":")
        assert address.startswith("127.0.0.1:")
        assert target in inside


def test_a_service_is_killed_after_its_drain() -> None:
    for service in OURS.values():
        drain = service["environment"].get("AIKI_GRACEFUL_SHUTDOWN_TIMEOUT_MS", "0")
        assert int(service["stop_grace_period"].removesuffix("s")) >= int(drain) / 1000 + 15
