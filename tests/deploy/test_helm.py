"""The chart is consistent: its templates use what its values and their schema have.

Where helm is installed it renders the chart, and the result must satisfy what the plain manifests
do; elsewhere the templates are only read.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiki
from aiki.configuration import Settings, load
from tests.deploy.manifests import (
    HELM,
    check_grace,
    check_pod,
    check_references,
    check_server_pod,
    documents,
    of_kind,
    pods,
)

TEMPLATES = sorted(path for path in (HELM / "templates").iterdir() if path.is_file())
(VALUES,) = documents((HELM / "values.yaml").read_text("utf-8"))
(CHART,) = documents((HELM / "Chart.yaml").read_text("utf-8"))
SCHEMA = json.loads((HELM / "values.schema.json").read_text("utf-8"))
_BLOCKS = ("if", "range", "with", "define")
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def actions(path: Path) -> list[str]:
    """What stands between double braces."""
    text = path.read_text("utf-8")
    assert text.count("{{") == text.count("}}"), path.name
    found = re.findall(r"\{\{-?\s*(.*?)\s*-?\}\}", text, re.DOTALL)
    assert len(found) == text.count("{{"), path.name
    return [each for each in found if not each.startswith("/*")]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of everything that is no mapping, or an empty one."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from leaves(each, (*path, name))
    else:
        yield path


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_blocks_end(path: Path) -> None:
    depth = 0
    for action in actions(path):
        word = action.split()[0]
        depth += word in _BLOCKS
        depth -= word == "end"
        assert depth >= 0, action
        assert action.count("(") == action.count(")")
        assert action.count('"') % 2 == 0
    assert depth == 0


def test_every_value_that_is_used_exists_and_every_value_is_used() -> None:
    used = {
        tuple(name.split("."))
        for path in TEMPLATES
        for action in actions(path)
        for name in re.findall(r"\.Values\.([\w.]+)", action)
    }
    for name in used:
        value: Any = VALUES
        for part in name:
            assert part in value, f".Values.{'.'.join(name)}"
            value = value[part]
    for leaf in leaves(VALUES):
        assert any(leaf[: len(name)] == name for name in used), ".".join(leaf)


def test_every_value_is_in_the_schema_and_nothing_else() -> None:
    def compare(value: Any, schema: dict[str, Any], path: str) -> None:
        if "properties" not in schema:
            return
        assert schema["additionalProperties"] is False, path
        assert set(schema["properties"]) - {"global"} == set(value), path
        for name, each in value.items():
            compare(each, schema["properties"][name], f"{path}.{name}")

    compare(VALUES, SCHEMA, "values")


def test_every_template_that_is_included_is_defined() -> None:
    every = [action for path in TEMPLATES for action in actions(path)]
    defined = {match[1] for each in every if (match := re.match(r'define "([^"]+)"', each))}
    included = {name for each in every for name in re.findall(r'include "([^"]+)"', each)}
    assert included == defined


def test_the_chart_is_of_this_version() -> None:
    assert (CHART["apiVersion"], CHART["name"], CHART["type"]) == ("v2", "aiki", "application")
    assert CHART["appVersion"] == aiki.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", CHART["version"])
    defaults = Settings()
    assert (VALUES["server"]["port"], VALUES["server"]["grpcPort"]) == (
        defaults.port, defaults.grpc_port,
    )  # fmt: skip


@needs_helm
@pytest.mark.parametrize("mode", ["none", "cpu", "backlog"])
def test_what_it_renders_is_whole(mode: str) -> None:
    rendered = subprocess.run(
        ["helm", "template", "shop", str(HELM), "--namespace", "shop",
         "--set", f"autoscaling.mode={mode}", "--set", "server.settings.AIKI_LOG_LEVEL=debug"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = documents(rendered)
    made = dict(pods(found))
    assert set(made) == {"shop-server", "shop-worker", "shop-migrate"}
    for pod in made.values():
        check_pod(pod)
    check_server_pod(made["shop-server"], Settings().port, Settings().grpc_port or 0)
    check_references(found)
    settings = {each["metadata"]["name"]: each["data"] for each in of_kind(found, "ConfigMap")}
    for name, data in settings.items():
        load({}, data)
        check_grace(made[name], data)
    assert settings["shop-server"]["AIKI_LOG_LEVEL"] == "debug"
    kinds = {each["kind"] for each in found}
    scalers = {"cpu": {"HorizontalPodAutoscaler"}, "backlog": {"ScaledObject"}, "none": set[str]()}
    assert kinds & {"HorizontalPodAutoscaler", "ScaledObject"} == scalers[mode]
    workers = [each for each in found if each["metadata"]["name"] == "shop-worker"]
    (deployment,) = of_kind(workers, "Deployment")
    assert ("replicas" in deployment["spec"]) is (mode == "none")


@needs_helm
@pytest.mark.parametrize(
    "wrong", ["autoscaling.mode=magic", "server.prot=1", "worker.image.tag=latest"]
)
def test_a_wrong_value_is_refused(wrong: str) -> None:
    refused = subprocess.run(
        ["helm", "template", "shop", str(HELM), "--set-string", wrong],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode != 0
    assert wrong.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1] in refused.stderr.replace(
        "/", "."
    )
