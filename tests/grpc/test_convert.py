"""Laws: what travels arrives as it was, and what cannot be read is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.errors import InvalidRequest, ServiceError
from aiki.model.run import RunOptions
from aiki.model.task import Entry
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.bulk import CancelRuns
from aiki.operations.runs import GetRun, ListRuns, StartRun, StartRuns
from aiki.operations.work import Completed, RunReport
from aiki.wire.calls import answer_type
from aiki.wire.proto.aiki.v1 import aiki_pb2
from aiki.wire.proto.convert import decode, encode, encode_answer, parse, parse_answer
from aiki.wire.proto.session import SessionRequest, SessionResponse
from tests.grpc.values import values_of

KINDS = sorted(OPERATIONS.values(), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("struct", [*KINDS, SessionRequest, SessionResponse])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_request_arrives_as_it_was(struct: type[msgspec.Struct], data: st.DataObject) -> None:
    sent = data.draw(values_of(struct))
    assert parse(struct, encode(sent).SerializeToString()) == sent


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_answer_arrives_as_it_was(kind: type[Operation[Any]], data: st.DataObject) -> None:
    answer = data.draw(values_of(answer_type(kind)))
    assert parse_answer(kind, encode_answer(kind, answer).SerializeToString()) == answer


@pytest.mark.parametrize("value", [None, b"", b"null", "ü\U0001f600".encode()])
def test_none_is_told_from_empty(value: bytes | None) -> None:
    entry = Entry(1, "task", "charge:1", 0, 2**53 + 1, value=value)
    assert decode(Entry, encode(entry)) == entry


def test_a_missing_field_means_the_structs_default() -> None:
    assert decode(ListRuns, aiki_pb2.ListRunsRequest()) == ListRuns()
    start = aiki_pb2.StartRun(id="i", workflow="w", version="1", input=b"{}")
    assert decode(StartRun, start) == StartRun(id="i", workflow="w", version="1", input=b"{}")
    assert decode(RunOptions, aiki_pb2.RunOptions()) == RunOptions()


def test_a_default_that_was_said_is_omitted_like_one_that_was_not() -> None:
    said = parse(RunOptions, encode(RunOptions()).SerializeToString())
    assert msgspec.json.encode(said) == b"{}"


@pytest.mark.parametrize(
    ("struct", "message", "complaint"),
    [
        (StartRun, aiki_pb2.StartRun(on_conflict="maybe"), "on_conflict is 'maybe'"),
        (CancelRuns, aiki_pb2.CancelRunsRequest(command_id="c"), "query is missing"),
        (RunReport, aiki_pb2.RunReport(ending={}), "kind is missing"),
        (RunOptions, aiki_pb2.RunOptions(attributes_json=b"[]"), "attributes_json"),
        (RunOptions, aiki_pb2.RunOptions(retry={"attempts": 0}), "attempts=0"),
    ],
)
def test_what_a_struct_would_not_accept_is_refused_by_name(
    struct: type[msgspec.Struct], message: Any, complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        decode(struct, message)


def test_what_no_message_can_hold_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="GetRun cannot be sent"):
        encode(GetRun(id="a", wait_ms=2**63))
    with pytest.raises(InvalidRequest, match="GetRun cannot be sent"):
        encode(GetRun(id="\ud800"))


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="this is no GetRunRequest"):
        parse(GetRun, b"\xff\xff")
    with pytest.raises(ServiceError, match="the answer cannot be read"):
        parse_answer(StartRuns, b"\xff\xff")


def test_fields_of_a_newer_peer_are_left_out() -> None:
    newer = encode(Completed(b"1")).SerializeToString() + b"\xfa\x3f\x01x"
    assert parse(Completed, newer) == Completed(b"1")
