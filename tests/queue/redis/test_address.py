"""Laws of the URL of Redis: what it says, and what is refused."""

from __future__ import annotations

import pytest

from aiki.errors import ConfigurationError
from aiki.queue.redis.address import CLUSTER, SENTINEL, SINGLE, Address


def test_the_parts_of_a_url() -> None:
    address = Address.parse("rediss://me:p%40ss@queue.example:6380/3?prefix=a%3A&ssl_ca=/ca.pem")
    assert address.kind == SINGLE
    assert address.hosts == (("queue.example", 6380),)
    assert (address.user, address.password, address.database) == ("me", "p@ss", 3)
    assert (address.encrypted, address.prefix, address.ssl_ca) == (True, "a:", "/ca.pem")
    assert "p@ss" not in address.label


def test_what_is_left_out_has_a_default() -> None:
    address = Address.parse("redis://")
    assert address.hosts == (("127.0.0.1", 6379),)
    assert (address.user, address.password, address.database) == (None, None, 0)
    assert Address.parse("redis://:secret@[::1]").hosts == (("::1", 6379),)
    assert Address.parse("redis://:secret@host").password == "secret"


def test_several_servers() -> None:
    cluster = Address.parse("redis+cluster://a,b:7000,[::1]:7001")
    assert (cluster.kind, cluster.encrypted) == (CLUSTER, False)
    assert cluster.hosts == (("a", 6379), ("b", 7000), ("::1", 7001))
    watched = Address.parse("rediss+sentinel://a,b:7000/main/2")
    assert (watched.kind, watched.encrypted) == (SENTINEL, True)
    assert watched.hosts == (("a", 26379), ("b", 7000))
    assert (watched.service, watched.database) == ("main", 2)
    assert (watched.sentinel_user, watched.sentinel_password) == (None, None)


def test_sentinels_may_have_a_password_of_their_own() -> None:
    address = Address.parse(
        "redis+sentinel://me:mine@a/main?sentinel_user=watch&sentinel_password=w%26d"
    )
    assert (address.user, address.password) == ("me", "mine")
    assert (address.sentinel_user, address.sentinel_password) == ("watch", "w&d")
    assert "w&d" not in address.label


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host", "http:// is no URL of Redis"),
        ("redis://a,b", "names several hosts"),
        ("redis://host:0", "no host:port"),
        ("redis://host:70000", "no host:port"),
        ("redis://host/one", "a database is a number"),
        ("redis+cluster://host/1", "a database is a number"),
        ("redis+sentinel://host", "names no service"),
        ("redis://host?prefx=a", "has the option 'prefx'; known are prefix, ssl, ssl_ca"),
        ("redis://host?sentinel_password=a", "has the option 'sentinel_password'"),
        ("rediss://host?ssl=no", "true or unverified"),
    ],
)
def test_what_cannot_be_a_url_is_refused(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Address.parse(url)
