"""The deployment files as data, and what every pod of ours must have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
HELM = DEPLOY / "helm" / "aiki"
BASE = DEPLOY / "kubernetes" / "base"
KEDA = DEPLOY / "kubernetes" / "keda"
Document = dict[str, Any]


def documents(text: str) -> list[Document]:
    """The documents of a YAML stream; a key that is given twice is an error."""
    return [each for each in yaml.load_all(text, _Strict) if each]


class _Strict(yaml.SafeLoader):
    """Refuses what YAML would silently overwrite."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(map(str, keys))), f"given twice in {node.start_mark}: {keys}"
        return node


def manifests(*folders: Path) -> list[Document]:
    """What the folders hold for a cluster."""
    return [
        document
        for folder in folders
        for path in sorted(folder.glob("*.yaml"))
        for document in documents(path.read_text("utf-8"))
        if document["kind"] != "Kustomization"
    ]


def of_kind(found: list[Document], kind: str) -> list[Document]:
    """Those of this kind; there is at least one."""
    chosen = [each for each in found if each["kind"] == kind]
    assert chosen, f"there is no {kind}"
    return chosen


def pods(found: list[Document]) -> Iterator[tuple[str, Document]]:
    """The name and the pod of everything that makes pods."""
    for each in found:
        if each["kind"] in ("Deployment", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def check_pod(pod: Document) -> None:
    """It is bounded, has no rights, and needs no file system that can be written."""
    assert pod["automountServiceAccountToken"] is False
    # Variables such as AIKI_PORT=tcp://... would be taken for settings.
    assert pod["enableServiceLinks"] is False
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {each["name"]: each for each in pod["volumes"]}
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        image, _, tag = container["image"].rpartition(":")
        assert image
        assert tag not in ("", "latest")
        assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
    for volume in volumes.values():
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] & 0o007 == 0


def check_server_pod(pod: Document, http: int, grpc: int) -> None:
    """It is asked whether it starts, is ready and lives, and has time to drain."""
    (container,) = pod["containers"]
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == {
        "http": http,
        "grpc": grpc,
    }
    paths = {
        name: container[name]["httpGet"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
    }
    assert pod["topologySpreadConstraints"]


def check_grace(pod: Document, settings: dict[str, str]) -> None:
    """The pod is killed later than its drain, the pause before it, and what follows it, take."""
    (container,) = pod["containers"]
    stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
    pause = int(stop[1]) if stop else 0
    drain = int(settings["AIKI_GRACEFUL_SHUTDOWN_TIMEOUT_MS"]) / 1000
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + 10


def check_references(found: list[Document]) -> None:
    """Whatever names another object names one that is there, and selectors choose pods."""
    names = {(each["kind"], each["metadata"]["name"]) for each in found}
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in found
        if each["kind"] in ("Deployment", "Job")
    ]

    def chooses(selector: dict[str, str]) -> bool:
        return any(selector.items() <= each.items() for each in labels)

    for _, pod in pods(found):
        for container in pod["containers"]:
            for source in container.get("envFrom", []):
                assert ("ConfigMap", source["configMapRef"]["name"]) in names
    for each in found:
        spec = each.get("spec", {})
        target = spec.get("scaleTargetRef")
        if target is not None:
            assert ("Deployment", target["name"]) in names
        if each["kind"] == "Service":
            assert chooses(spec["selector"])
        if each["kind"] in ("PodDisruptionBudget", "Deployment"):
            assert chooses(spec["selector"]["matchLabels"])
        if each["kind"] == "NetworkPolicy":
            assert chooses(spec["podSelector"]["matchLabels"])
