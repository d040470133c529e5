"""Why something did not complete: a union that `match` takes apart, the same live and replayed."""

from __future__ import annotations

import traceback

import msgspec

from aiki.model import limits


class _Failure(msgspec.Struct, frozen=True, tag_field="kind"):
    def describe(self) -> str:
        """One line for people."""
        return self.__class__.__name__


class Raised(_Failure, frozen=True, tag="raised"):
    """User code raised."""

    type: str
    message: str
    traceback: str = ""
    cause: Raised | None = None
    retryable: bool = True

    def describe(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class TimedOut(_Failure, frozen=True, tag="timed_out"):
    """A task or a run did not end within its time-out."""

    timeout_ms: int
    what: str = ""

    def describe(self) -> str:
        return f"{self.what or 'it'} did not end within {self.timeout_ms / 1000:g} s"


class Interrupted(_Failure, frozen=True, tag="interrupted"):
    """The worker of an at-most-once task was lost between its start and its record."""

    task: str

    def describe(self) -> str:
        return f"{self.task} was interrupted: whether it had its effect is not known"


class AttemptsLost(_Failure, frozen=True, tag="attempts_lost"):
    """Every attempt that the retry policy allows was lost with its worker."""

    task: str
    attempts: int

    def describe(self) -> str:
        return f"{self.task} lost its worker in {self.attempts} attempts"


class Cancelled(_Failure, frozen=True, tag="cancelled"):
    """Cancelled on request."""

    reason: str = ""
    cause: Raised | None = None
    forced: bool = False

    def describe(self) -> str:
        text = f"cancelled: {self.reason}" if self.reason else "cancelled"
        return f"{text} (its clean-up raised {self.cause.describe()})" if self.cause else text


class DeadLettered(_Failure, frozen=True, tag="dead_letter"):
    """The run kept losing its workers, even when it was executed alone."""

    losses: int

    def describe(self) -> str:
        return f"{self.losses} workers were lost while they executed this run alone"


class ChildEnded(_Failure, frozen=True, tag="child"):
    """A child workflow ended without a result."""

    workflow: str
    run_id: str
    status: str
    cause: Raised | TimedOut | Interrupted | AttemptsLost | Cancelled | DeadLettered | None = None

    def describe(self) -> str:
        why = f": {self.cause.describe()}" if self.cause else ""
        return f"child {self.workflow} ({self.run_id}) {self.status}{why}"


Failure = Raised | TimedOut | Interrupted | AttemptsLost | Cancelled | DeadLettered | ChildEnded

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Failure] = msgspec.json.Decoder(Failure)


def encode_failure(failure: Failure) -> bytes:
    """The failure as JSON."""
    return _encoder.encode(failure)


def decode_failure(data: bytes) -> Failure:
    """The failure that `encode_failure` wrote."""
    return _decoder.decode(data)


def clean_text(text: str) -> str:
    """The text, encodable and no longer than is kept: the end of a long one says most."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > limits.ERROR_TEXT_BYTES:
        data = b"[...] " + data[-limits.ERROR_TEXT_BYTES :]
    return data.decode("utf-8", "replace")


def raised(error: BaseException, *, depth: int = 0) -> Raised:
    """The record of a user's exception: its type, message, traceback and chain of causes."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    chain = raised(cause, depth=depth + 1) if cause and depth < limits.ERROR_CAUSES else None
    try:
        message = str(error)
    except Exception:
        message = "<its __str__ raised>"
    return Raised(
        type=type(error).__qualname__,
        message=clean_text(message),
        traceback=clean_text("".join(traceback.format_tb(error.__traceback__))),
        cause=chain,
    )
