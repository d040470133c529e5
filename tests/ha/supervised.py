"""A database that is started again whenever it dies, as under a supervisor, for one test alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.services import mysql, postgres
from tests.services.server import Command, Service, freeze, private, server_pid

# The guard's signal ends both; the guard wakes the shell where a test has stopped it.
_SUPERVISE = """\
trap 'kill -$0 "$server" 2>/dev/null; wait "$server"; exit 0' TERM
while :; do "$@" & server=$!; wait "$server"; done
"""


class Database(NamedTuple):
    """A database that can be killed."""

    url: str
    data: Path
    pid_file: Path
    crash: signal.Signals
    """Ends it without a checkpoint, and all that belongs to it."""

    @property
    def pid(self) -> int:
        """Of its process, which is another one each time that it was started."""
        return int(self.pid_file.read_text("utf-8").split()[0])

    def go(self) -> None:
        """Kill it, and leave it dead."""
        freeze(server_pid(self.data))
        os.kill(self.pid, self.crash)

    def come_back(self) -> None:
        """Let the supervisor start it."""
        os.kill(server_pid(self.data), signal.SIGCONT)

    def restart(self) -> None:
        """Kill it; the supervisor starts it at once."""
        self.go()
        self.come_back()


@contextmanager
def postgresql() -> Iterator[Database]:
    """PostgreSQL, which an immediate stop leaves to recover from its log."""
    with private(_supervised(postgres.service("18", ["fsync=on"]), "INT")) as data:
        pid_file = data / "cluster" / "postmaster.pid"
        yield Database(postgres.at(data).url, data, pid_file, signal.SIGQUIT)


@contextmanager
def mariadb() -> Iterator[Database]:
    """MariaDB, which writes its log at each commit."""
    durable = ["--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=ON"]
    with private(_supervised(mysql.service(durable), "TERM")) as data:
        running = mysql.at(data)
        mysql.run_client(running, "CREATE DATABASE aiki")
        yield Database(running.database("aiki"), data, data / "mysqld.pid", signal.SIGKILL)


DATABASES = {"postgresql": postgresql, "mysql": mariadb}


def _supervised(service: Service, stop: str) -> Service:
    """The same service, below a shell that starts it again."""
    return service._replace(prepare=partial(_prepare, service.prepare, stop))


def _prepare(prepare: Callable[[Path], Command], stop: str, data: Path) -> Command:
    command = prepare(data)
    return command._replace(argv=["/bin/sh", "-c", _SUPERVISE, stop, *command.argv])
