"""The units are understood by systemd, hardened, and wait for the drain."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "DynamicUser": "yes",
    "CapabilityBoundingSet": "",
    "Type": "notify",
    "KillMode": "mixed",
}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def lines(unit: Path) -> list[tuple[str, str]]:
    """Names and values of the service, in their order; a name may come several times."""
    section = unit.read_text("utf-8").split("[Service]")[1].split("[Install]")[0]
    found = re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE)
    return [(name, value) for name, value in found]


def runnable(unit: Path, folder: Path) -> Path:
    """The unit as it is, with a program that is there on this machine."""
    text = re.sub(r"(?m)^(ExecStart=)\S+", rf"\g<1>{sys.executable}", unit.read_text("utf-8"))
    (folder / unit.name).write_text(text, "utf-8")
    return folder / unit.name


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_is_hardened_and_waits_for_the_drain(unit: Path) -> None:
    values = dict(lines(unit))
    assert {name: values.get(name) for name in HARDENED} == HARDENED
    environment = dict(value.split("=", 1) for name, value in lines(unit) if name == "Environment")
    drain = int(environment["AIKI_GRACEFUL_SHUTDOWN_TIMEOUT_MS"]) / 1000
    assert int(values["TimeoutStopSec"]) >= drain + 15
    assert environment["AIKI_TOKEN_FILE"] == "%d/token"
    assert ("LoadCredential", "token:/etc/aiki/token") in lines(unit)
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(unit.read_text("utf-8"))
    assert parser.sections() == ["Unit", "Service", "Install"]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_it(unit: Path, tmp_path: Path) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(runnable(unit, tmp_path))],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_little_is_exposed(unit: Path, tmp_path: Path) -> None:
    """The level goes from 0 to 10 (here in tenths); 9 and more is what systemd calls unsafe."""
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20",
         str(runnable(unit, tmp_path))],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout
