"""A server's guard: it starts the server, and stops it when the last pytest process is gone.

Every pytest process that uses the server holds a shared lock on `users.lock`; the kernel lets go
of it when the process ends, however it ends. So the guard waits for the exclusive lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

STOP_SECONDS = 20


def guard(folder: Path) -> None:
    """Run what `command.json` says until nobody holds the folder's lock; then remove the folder."""
    command = json.loads((folder / "command.json").read_text("utf-8"))
    as_user = {"user": command["user"], "group": command["group"], "extra_groups": []}
    with (folder / "users.lock").open("rb") as users, (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            command["argv"],
            cwd=folder / "data",
            env=os.environ | command["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **(as_user if command["user"] else {}),
        )
        (folder / "pid").write_text(str(server.pid), "utf-8")
        fcntl.flock(users, fcntl.LOCK_EX)
        stop(server, signal.Signals(command["stop_signal"]))
        shutil.rmtree(folder, ignore_errors=True)
    # The session's folder goes with its last server.
    with suppress(OSError):
        folder.parent.rmdir()


def stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Ask it to stop; kill what does not."""
    # One that a test froze would not hear.
    server.send_signal(signal.SIGCONT)
    server.send_signal(how)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
