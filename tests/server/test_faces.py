"""Law: a face shows payloads as values, and reads back what it showed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.model.failure import Raised
from aiki.model.run import RunOptions
from aiki.model.task import Entry
from aiki.operations.base import OPERATIONS
from aiki.operations.runs import SendEvent, StartRun
from aiki.operations.work import Claims, Completed, Failed, RunReport
from aiki.wire.calls import answer_type
from aiki.wire.faces import ANSWERS, Faces, show_payload

STRICT = Faces(strict=True, made=frozenset({("StartRun", "id")}), suffix="Input")
ENTRY = Entry(1, "task", "a:1", 0, 0, value=b"[null]")


class Nested(msgspec.Struct, frozen=True, kw_only=True):
    """What no record holds yet: payloads by name, and a payload with a default."""

    named: dict[str, Entry] = {}
    many: tuple[bytes, ...] = ()
    value: bytes = b"0"


VALUES: list[tuple[Any, Any]] = [
    (Entry, ENTRY),
    (Entry, Entry(1, "task", "a:1", 0, 0, value=b"null", failure=Raised("E", "m"))),
    (Entry, Entry(1, "task", "a:1", 0, 0)),
    (Nested, Nested(named={"a": ENTRY}, many=(b"1", b'"x"'), value=b"{}")),
    (Nested, Nested()),
    (RunReport, RunReport(run_id="a", epoch=1, attempt=1, ending=Completed(b"[1]"))),
    (RunReport, RunReport(run_id="a", epoch=1, attempt=1, ending=Failed(Raised("E", "m")))),
    (StartRun, StartRun(id="a", workflow="w", version="1", input=b"{}", options=RunOptions())),
    (Claims, Claims()),
]


def _through(faces: Faces, kind: Any, value: Any) -> tuple[bytes, Any]:
    face = faces.of(kind)
    shown = msgspec.json.encode(face.show(value) if face.show else value)
    read = msgspec.json.decode(shown, type=face.type)
    return shown, face.read(read) if face.read else read


@pytest.mark.parametrize("faces", [ANSWERS, STRICT], ids=["answers", "requests"])
@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_what_is_shown_is_read_back(faces: Faces, kind: Any, value: Any) -> None:
    shown, read = _through(faces, kind, value)
    assert read == value
    json.loads(shown)


def test_a_null_is_told_from_nothing() -> None:
    nothing, _ = _through(ANSWERS, Entry, Entry(1, "task", "a", 0, 0))
    null, _ = _through(ANSWERS, Entry, Entry(1, "task", "a", 0, 0, value=b"null"))
    assert "value" not in json.loads(nothing)
    assert json.loads(null)["value"] is None


@given(st.binary(max_size=20) | st.text(max_size=20).map(lambda text: json.dumps(text).encode()))
def test_any_bytes_can_stand_in_a_document(payload: bytes) -> None:
    document = json.loads(msgspec.json.encode({"value": show_payload(payload)}))
    try:
        expected = json.loads(payload)
    except ValueError:
        assert document["value"].keys() == {"$bytes"}
    else:
        assert document["value"] == expected or "$bytes" in document["value"]


def test_ids_may_be_left_out_and_unknown_fields_may_not() -> None:
    face = STRICT.of(StartRun)
    decode = msgspec.json.Decoder(face.type).decode
    assert face.read is not None
    start = face.read(decode(b'{"workflow": "w", "version": "1", "input": [1]}'))
    assert (start.id, start.input) == ("", b"[1]")
    for wrong, path in (
        (b'{"workflow": "w", "version": "1", "input": 1, "a": 1}', "field `a`"),
        (b'{"workflow": "w", "version": "1", "input": 1, "options": {"a": 1}}', "$.options"),
        (b'{"workflow": "w", "version": "1", "input": 1, "priority": 9007199254740992}', "<="),
    ):
        with pytest.raises(msgspec.ValidationError) as caught:
            decode(wrong)
        assert path in str(caught.value)


def test_a_default_payload_may_be_left_out() -> None:
    face = Faces(strict=True).of(SendEvent)
    assert face.read is not None
    read = face.read(msgspec.json.decode(b'{"id":"a","run_id":"b","name":"n"}', type=face.type))
    assert read.value == b"null"


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_operation_shows_bytes(name: str) -> None:
    for kind in (OPERATIONS[name], answer_type(OPERATIONS[name])):
        for faces in (ANSWERS, STRICT):
            schema = json.dumps(msgspec.json.schema(faces.of(kind).type))
            assert "contentEncoding" not in schema
