"""Laws of the parent that keeps equal processes alive, run as a program of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from aiki.cli.supervisor import Supervisor

def work(seat):
    if {serves}:
        signal.signal(signal.SIGTERM, lambda *_: os._exit({code}))
        os.write(seat.ready_pipe, b".")
    print("begun", flush=True)
    while True:
        signal.pause()

supervisor = Supervisor(
    1, work, on_ready=lambda pids: None, on_stop=lambda: None, drain_seconds=20.0
)
sys.exit(supervisor.run())
"""


@pytest.mark.parametrize(
    ("serves", "code", "answer"),
    [(False, 0, 0), (True, 0, 0), (True, 3, 1)],
    ids=["not begun to serve", "drains", "fails while it drains"],
)
def test_a_stop_answers_how_the_processes_ended(serves: bool, code: int, answer: int) -> None:
    program = PROGRAM.format(serves=serves, code=code)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begun\n"
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == answer
