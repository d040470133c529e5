"""Laws of encryption: one server, a cluster, and Sentinels, which have passwords of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiki.errors import ConfigurationError, QueueUnavailable
from tests.queue.redis.support import (
    MOMENT,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
)
from tests.services import redis as service


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of whoever signed the servers': themselves; the key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    found = folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(folder / "key.pem"), "-out", str(found), "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return found


def settings(certificate: Path) -> str:
    key = certificate.parent / "key.pem"
    return (
        f"tls-port {{tls_port}}\ntls-cert-file {certificate}\ntls-key-file {key}\n"
        f"tls-ca-cert-file {certificate}\ntls-auth-clients no\n"
    )


async def works(url: str) -> None:
    """Messages come through it."""
    queues = [fresh() for _ in range(20)]
    async with publisher(url) as sender, consumer(url, *queues, options=MOMENT) as reader:
        sent = [message for queue in queues for message in messages(queue, 1)]
        assert all(place.entry for place in await sender.publish(sent))
        found = await collect(reader, len(sent), capacity=len(sent))
        assert sorted(ids(found)) == sorted(ids(sent))
        await reader.done(found)


async def is_refused(url: str, told: str) -> None:
    async with publisher(url) as sender:
        with pytest.raises(QueueUnavailable, match=told):
            await sender.publish(messages(fresh(), 1))


async def test_connections_are_encrypted_and_the_server_is_checked(certificate: Path) -> None:
    with service.private_server(settings(certificate), service.debian_program()) as own:
        url = f"rediss://127.0.0.1:{own.tls_port}/0"
        await works(f"{url}?ssl_ca={certificate}")
        await works(f"{url}?ssl=unverified")
        await is_refused(url, "CERTIFICATE_VERIFY_FAILED")


async def test_connections_to_a_cluster_are_encrypted_and_its_servers_are_checked(
    certificate: Path,
) -> None:
    among_themselves = settings(certificate) + "tls-cluster yes\n"
    with service.private_cluster(among_themselves, service.debian_program()) as cluster:
        url = "rediss+cluster://" + ",".join(f"127.0.0.1:{n.tls_port}" for n in cluster.nodes)
        await works(f"{url}?ssl_ca={certificate}")
        await works(f"{url}?ssl=unverified")
        await is_refused(url, "CERTIFICATE_VERIFY_FAILED")


@contextmanager
def watched(certificate: Path, more: str = "") -> Iterator[str]:
    """What a Sentinel watches, encrypted: hosts and service of its URL."""
    encrypted = settings(certificate)
    with service.private_server(
        encrypted + "requirepass secret\n", service.debian_program()
    ) as master:
        watch = (
            f"tls-replication yes\nsentinel monitor main 127.0.0.1 {master.tls_port} 1\n"
            "sentinel auth-pass main secret\n"
        )
        with service.private_sentinel(
            encrypted + watch + more, service.debian_program()
        ) as sentinel:
            yield f"127.0.0.1:{sentinel.tls_port}/main/0"


async def test_sentinels_are_spoken_to_encrypted_and_are_checked(certificate: Path) -> None:
    with watched(certificate) as place:
        url = f"rediss+sentinel://:secret@{place}"
        await works(f"{url}?ssl_ca={certificate}")
        await works(f"{url}?ssl=unverified")
        await is_refused(url, "No master found")


async def test_sentinels_are_told_their_own_password_and_no_other(certificate: Path) -> None:
    with watched(certificate, "requirepass watchword\n") as place:
        url = f"rediss+sentinel://:secret@{place}?ssl_ca={certificate}"
        await works(f"{url}&sentinel_password=watchword")
        await works(f"{url}&sentinel_user=default&sentinel_password=watchword")
        await is_refused(url, "AuthenticationError")
        async with publisher(f"{url}&sentinel_password=guessed") as sender:
            with pytest.raises(QueueUnavailable, match="AuthenticationError") as told:
                await sender.publish(messages(fresh(), 1))
        assert "guessed" not in str(told.value)
        assert "secret" not in str(told.value)


async def test_a_certificate_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        async with publisher(f"rediss://127.0.0.1:1/0?ssl_ca={tmp_path / 'none.pem'}"):
            pass
