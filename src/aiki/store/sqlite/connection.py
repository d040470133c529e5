"""How a connection to a database file is opened, and which files are refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from aiki.errors import ConfigurationError

OLDEST_SQLITE = (3, 38, 0)
_BUSY_TIMEOUT_MS = 5_000
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "9p"}
)


def open_connection(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection that waits for locks, and whose commits are on disk when they return.

    One for reading leaves the file and its log as they are, even where it is the last to close.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(
            f"this Python has SQLite {sqlite3.sqlite_version}; Aiki needs 3.38 or newer"
        )
    where = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    try:
        connection = sqlite3.connect(
            where, isolation_level=None, check_same_thread=False, cached_statements=256, uri=True
        )
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error
    try:
        _configure(connection, read_only)
    except sqlite3.Error as error:
        connection.close()
        raise _cannot_open(path, error) from error
    return connection


def _cannot_open(path: Path, error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(f"cannot open the database {path}: {error}")


def _configure(connection: sqlite3.Connection, read_only: bool) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    if read_only:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")


def refuse_network_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Locks and shared memory do not work there: two hosts would corrupt the file.

    Raises `ConfigurationError`; where the system does not list its mounts, nothing is known.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return
    real = os.path.realpath(path.parent)
    best, kind = "", ""
    for line in lines:
        _, point, file_system = line.split()[:3]
        point = point.encode().decode("unicode_escape")
        if len(point) >= len(best) and (real + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, file_system
    if kind in _NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{path} is on a network file system ({kind}), where SQLite's locks do not hold; "
            "use a local disk, or a database server"
        )
