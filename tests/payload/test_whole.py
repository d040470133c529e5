"""What is kept and read back holds every field: another default later changes no record."""

from __future__ import annotations

from dataclasses import dataclass

from aiki.workflow.canonical import encode
from aiki.workflow.codec import codec_for


@dataclass
class Inner:
    """A nested value with a default."""

    size: int = 3


@dataclass
class Outer:
    """A value with a default that is itself nested."""

    name: str
    inner: Inner


def test_a_result_keeps_fields_that_equal_their_default() -> None:
    data = codec_for(Outer, "result").encode(Outer("a", Inner()))
    assert data == b'{"inner":{"size":3},"name":"a"}'


def test_an_address_leaves_them_out_whatever_was_encoded_before() -> None:
    codec_for(Outer, "result").encode(Outer("a", Inner()))
    assert encode(Outer("a", Inner())) == b'{"inner":{},"name":"a"}'
