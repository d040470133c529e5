"""Law: with a certificate the server speaks TLS, and clients check whose it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiki.errors import ConfigurationError
from tests.grpc.support import LIMIT_SECONDS, Served, served

PROGRAM = """
import asyncio, sys
from aiki.operations.catalog import GetServerInfo
from aiki.remote.grpc import GrpcConnection

async def main():
    api = await GrpcConnection([sys.argv[1]], namespace="default").open()
    try:
        print((await api.call(GetServerInfo())).store)
    finally:
        await api.close()

asyncio.run(main())
"""


def make_certificate(folder: Path) -> tuple[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = str(folder / "server.pem"), str(folder / "server.key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return certificate, key


async def ask(server: Served, scheme: str, roots: str) -> subprocess.CompletedProcess[str]:
    """Ask from another process: the roots are read once in each."""
    port = server.grpc.address.rpartition(":")[2]
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PROGRAM, f"{scheme}://localhost:{port}"],
        env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": roots},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


async def test_a_client_that_trusts_the_certificate_is_answered(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = {"certificate_file": certificate, "key_file": key}
    async with served(tmp_path / "a.db", **tls) as server:
        done = await ask(server, "grpcs", certificate)
        assert done.returncode == 0, done.stderr
        (tmp_path / "other").mkdir()
        other, _ = make_certificate(tmp_path / "other")
        for scheme, roots in (("grpcs", other), ("grpc", certificate)):
            done = await ask(server, scheme, roots)
            assert "ServerUnreachable" in done.stderr


async def test_a_certificate_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for tls in ({"certificate_file": "none"}, {"certificate_file": "none", "key_file": "none"}):
        with pytest.raises(ConfigurationError, match="certificate"):
            async with served(tmp_path / "a.db", **tls):
                raise AssertionError("a server without a certificate listens")
