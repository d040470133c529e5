"""Laws of the URL: what it may say, and that nothing else passes."""

from __future__ import annotations

import pytest

from aiki.errors import ConfigurationError
from aiki.queue.rabbitmq.address import Address


def test_all_parts_are_read_and_unescaped() -> None:
    address = Address.parse("amqps://me:p%40ss%2F@broker:1234/a%2Fb?ssl_ca=ca.pem")
    assert address[:6] == ("broker", 1234, "me", "p@ss/", "a/b", True)
    assert address.ssl_ca == "ca.pem"
    assert address.label == "RabbitMQ broker:1234/a/b"


def test_a_short_url_means_what_the_broker_has_from_the_start() -> None:
    address = Address.parse("amqp://broker")
    assert address[:6] == ("broker", 5672, "guest", "guest", "/", False)
    assert address.ssl_context() is None
    assert Address.parse("amqps://broker").port == 5671


def test_what_the_client_is_told_is_what_was_said() -> None:
    address = Address.parse("amqp://m%3Ae:p%40ss@[::1]:9/a%2Fb")
    assert Address.parse(address.client_url("x").partition("?")[0]) == address


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://broker", "redis"),
        ("amqp://broker:port", "port"),
        ("amqp://broker/a/b", "a/b"),
        ("amqp://broker?vhost=x", "vhost"),
        ("amqps://broker?ssl=maybe", "maybe"),
        ("amqp://broker?heartbeat_seconds=0", "heartbeat_seconds"),
        ("amqp://broker?heartbeat_seconds=1.5", "1.5"),
    ],
)
def test_anything_else_is_refused_by_name(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Address.parse(url)


def test_a_certificate_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigurationError, match="/no/such/file"):
        Address.parse("amqps://broker?ssl_ca=/no/such/file").ssl_context()
