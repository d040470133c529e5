"""PgBouncer for tests: a pooler in transaction mode before a PostgreSQL server of theirs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.services.postgres import OWNER, Postgres
from tests.services.server import Command, Service, is_root, missing

PROGRAM = Path("/usr/sbin/pgbouncer")
_USER = "postgres"
_INI = """\
[databases]
* = host={socket} port=5432 user={owner}

[pgbouncer]
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 5
{more}
"""


def service(server: Postgres, more: str = "") -> Service:
    """A pooler before this server; `more` are lines of its configuration."""
    if not PROGRAM.exists():
        missing("PgBouncer is not installed")
    return Service("pgbouncer", partial(_prepare, server, more), _answers, _USER)


def url_of(data: Path, schema: str) -> str:
    """The database behind the pooler that has this folder."""
    return f"postgresql://{OWNER}@/postgres?host={data}&port=6432&schema={schema}"


def _prepare(server: Postgres, more: str, data: Path) -> Command:
    ini = data / "pgbouncer.ini"
    text = _INI.format(socket=server.socket, owner=OWNER, folder=data, more=more)
    ini.write_text(text, "utf-8")
    return Command([str(PROGRAM), str(ini)], _USER if is_root() else None)


def _answers(data: Path) -> bool:
    return (data / ".s.PGSQL.6432").exists()
