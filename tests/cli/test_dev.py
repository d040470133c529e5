"""`aiki dev` as a process: it works, drains, and starts again when the code changes."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import APPLICATION, Call, Process

Start = Callable[..., Process]
OFFERED = "shop.py:OFFERED"


@pytest.fixture(autouse=True)
def shop(place: Path) -> Path:
    """The application's file in this folder."""
    return Path(shutil.copy(APPLICATION, place / "shop.py"))


def test_a_run_is_started_watched_and_ends(call: Call, start: Start) -> None:
    process = start("dev", OFFERED)
    assert "quick 1.0.0, waiting 1.0.0, long 1.0.0" in process.until("ready\t")
    run = call("runs", "start", "waiting", "1.0.0", '{"n": 2}').out.strip()
    watch = start("runs", "watch", run)
    watch.until("waiting\tparked")
    assert call("runs", "send", run, "go", "5").code == 0
    assert watch.ended() == 0
    assert watch.lines[-1].endswith("completed\treturned\t7\n")
    failed = call("runs", "start", "quick", "1.0.0", '{"n": -1}').out.strip()
    assert call("runs", "watch", failed, "--json").code == 1
    process.popen.send_signal(signal.SIGTERM)
    assert process.ended() == 0


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_the_first_signal_drains(call: Call, start: Start, place: Path, reload: str) -> None:
    process = start("dev", OFFERED, reload, "--graceful-shutdown-timeout-ms", "30000")
    process.until("ready\t")
    run = call("runs", "start", "long", "1.0.0", '{"name": "open"}').out.strip()
    process.until("began open")
    process.popen.send_signal(signal.SIGINT)
    process.until("draining")
    (place / "open").touch()
    assert process.ended() == 0
    assert dict(call("runs", "show", run).rows)["status"] == "completed"
    assert {row[1] for row in call("workers").rows} == {"stopped"}


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_the_second_signal_ends_it_at_once(call: Call, start: Start, reload: str) -> None:
    process = start("dev", OFFERED, reload, "--graceful-shutdown-timeout-ms", "60000")
    process.until("ready\t")
    call("runs", "start", "long", "1.0.0", '{"name": "never"}')
    process.until("began never")
    process.popen.send_signal(signal.SIGTERM)
    process.until("draining")
    process.popen.send_signal(signal.SIGINT)
    assert process.ended() == 128 + signal.SIGINT


def test_a_change_starts_it_again(call: Call, start: Start, shop: Path) -> None:
    process = start("dev", "shop:OFFERED", "--json")
    process.until('"ready"')
    text = shop.read_text()
    shop.write_text(text + "OFFERED.append(before)\n")
    process.until("reload: shop.py")
    process.until('"ready"', "changing 1.0.0")
    shop.write_text(text + "OFFERED.append(\n")
    process.until("error: shop:OFFERED cannot be imported", "shop.py:")
    shop.write_text(text + "OFFERED.append(unclaimed)\n")
    process.until('"ready"', "unclaimed 1.0.0")
    process.popen.send_signal(signal.SIGTERM)
    assert process.ended() == 0


def test_a_first_failure_ends_it(start: Start, shop: Path) -> None:
    shop.write_text("missing()\n")
    process = start("dev", "shop.py")
    assert process.ended() == 1
    assert "NameError" in process.lines[-1]


def test_a_child_follows_its_parent(start: Start) -> None:
    process = start("dev", OFFERED)
    process.until("ready\t")
    process.popen.kill()
    process.until("draining")


def test_a_log_shows_exceptions_on_one_line(call: Call, start: Start, shop: Path) -> None:
    shop.write_text(
        shop.read_text()
        + "import logging\n"
        + "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('it failed')\n"
    )
    process = start("dev", OFFERED, "--no-reload")
    process.until("it failed")
    assert "ZeroDivisionError: division by zero (" in process.until("division")
    process.until("ready\t")
    process.popen.send_signal(signal.SIGTERM)
    assert process.ended() == 0
