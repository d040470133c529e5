"""The manifests are whole: hardened, probed, consistent with each other and with the defaults."""

import shutil
import subprocess
from pathlib import Path

import pytest

from aiki.configuration import Settings, load
from tests.deploy.manifests import (
    BASE,
    KEDA,
    check_grace,
    check_pod,
    check_references,
    check_server_pod,
    documents,
    manifests,
    of_kind,
    pods,
)

FOUND = manifests(BASE, KEDA)
PODS = dict(pods(FOUND))
SETTINGS = {each["metadata"]["name"]: each["data"] for each in of_kind(FOUND, "ConfigMap")}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_hardened(name: str) -> None:
    check_pod(PODS[name])


def test_servers_are_probed_at_the_default_ports() -> None:
    defaults = Settings()
    assert defaults.grpc_port is not None
    check_server_pod(PODS["aiki-server"], defaults.port, defaults.grpc_port)
    ports = {
        port["name"]: port["port"]
        for service in of_kind(FOUND, "Service")
        for port in service["spec"]["ports"]
    }
    assert ports == {"http": defaults.port, "grpc": defaults.grpc_port}
    headless = {
        s["metadata"]["name"]: s["spec"].get("clusterIP") for s in of_kind(FOUND, "Service")
    }
    assert headless == {"aiki-server": None, "aiki-grpc": "None"}


@pytest.mark.parametrize("name", ["aiki-server", "aiki-worker"])
def test_a_drain_ends_before_the_pod_is_killed(name: str) -> None:
    check_grace(PODS[name], SETTINGS[name])


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_settings_of_aiki(name: str) -> None:
    load({}, SETTINGS[name])
    assert {each.removeprefix("AIKI_").lower() for each in SETTINGS[name]} <= set(
        Settings.__struct_fields__
    )


def test_every_reference_leads_somewhere() -> None:
    check_references(FOUND)


def test_every_secret_is_named_by_the_example_and_empty_in_it() -> None:
    secrets = {each["metadata"]["name"]: each["stringData"] for each in of_kind(FOUND, "Secret")}
    named = {
        (volume["secret"]["secretName"], item["key"])
        for pod in PODS.values()
        for volume in pod["volumes"]
        if "secret" in volume
        for item in volume["secret"].get("items", [{"key": "token"}])
    }
    assert named == {(name, key) for name, data in secrets.items() for key in data}
    assert {value for data in secrets.values() for value in data.values()} == {""}


def test_only_clients_and_workers_reach_the_servers() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(FOUND, "NetworkPolicy")}
    assert policies["aiki-server"]["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] for rule in policies["aiki-server"]["ingress"])
    assert "ingress" not in policies["aiki-worker"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(("folder", "autoscaler"), [
    (BASE, "HorizontalPodAutoscaler"), (KEDA, "ScaledObject"),
])  # fmt: skip
def test_kustomize_builds_one_autoscaler(folder: Path, autoscaler: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True
    ).stdout
    found = documents(built)
    scalers = [
        each["kind"]
        for each in found
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert scalers == [autoscaler]
    assert {each["metadata"].get("namespace") for each in found if each["kind"] != "Namespace"} == {
        "aiki"
    }
    assert not any(each["kind"] == "Secret" for each in found)
