# mypy: ignore-errors
# pyright: basic, reportAttributeAccessIssue=false
# ruff: noqa
# fmt: off
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SendEventsRequest(_message.Message):
    __slots__ = ("events", "command_id")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[SendEventRequest]
    command_id: str
    def __init__(self, events: _Optional[_Iterable[_Union[SendEventRequest, _Mapping]]] = ..., command_id: _Optional[str] = ...) -> None: ...

class SendEventRequest(_message.Message):
    __slots__ = ("id", "run_id", "name", "value", "key", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    name: str
    value: bytes
    key: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[bytes] = ..., key: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class SentEvents(_message.Message):
    __slots__ = ("ids", "refused")
    IDS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    refused: _containers.RepeatedCompositeFieldContainer[Refused]
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., refused: _Optional[_Iterable[_Union[Refused, _Mapping]]] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("id", "error", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    error: str
    message: str
    def __init__(self, id: _Optional[str] = ..., error: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class CancelRunsRequest(_message.Message):
    __slots__ = ("command_id", "query", "reason", "limit", "dry_run")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    query: RunQuery
    reason: str
    limit: int
    dry_run: bool
    def __init__(self, command_id: _Optional[str] = ..., query: _Optional[_Union[RunQuery, _Mapping]] = ..., reason: _Optional[str] = ..., limit: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RunQuery(_message.Message):
    __slots__ = ("workflow", "version", "status", "reference_id", "parent_id", "shard", "created_after", "created_before")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: str
    status: _containers.RepeatedScalarFieldContainer[str]
    reference_id: str
    parent_id: str
    shard: str
    created_after: int
    created_before: int
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., status: _Optional[_Iterable[str]] = ..., reference_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., shard: _Optional[str] = ..., created_after: _Optional[int] = ..., created_before: _Optional[int] = ...) -> None: ...

class BulkResult(_message.Message):
    __slots__ = ("matched", "done", "refused", "more")
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    matched: int
    done: _containers.RepeatedScalarFieldContainer[str]
    refused: _containers.RepeatedCompositeFieldContainer[Refused]
    more: bool
    def __init__(self, matched: _Optional[int] = ..., done: _Optional[_Iterable[str]] = ..., refused: _Optional[_Iterable[_Union[Refused, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class RerunRunRequest(_message.Message):
    __slots__ = ("id", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("id", "created")
    ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    id: str
    created: bool
    def __init__(self, id: _Optional[str] = ..., created: _Optional[bool] = ...) -> None: ...

class RerunRunsRequest(_message.Message):
    __slots__ = ("command_id", "query", "limit", "dry_run")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    query: RunQuery
    limit: int
    dry_run: bool
    def __init__(self, command_id: _Optional[str] = ..., query: _Optional[_Union[RunQuery, _Mapping]] = ..., limit: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ListWorkflowsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkflowsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[WorkflowVersion]
    def __init__(self, results: _Optional[_Iterable[_Union[WorkflowVersion, _Mapping]]] = ...) -> None: ...

class WorkflowVersion(_message.Message):
    __slots__ = ("namespace", "spec", "first_seen_at", "last_seen_at")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    spec: WorkflowSpec
    first_seen_at: int
    last_seen_at: int
    def __init__(self, namespace: _Optional[str] = ..., spec: _Optional[_Union[WorkflowSpec, _Mapping]] = ..., first_seen_at: _Optional[int] = ..., last_seen_at: _Optional[int] = ...) -> None: ...

class WorkflowSpec(_message.Message):
    __slots__ = ("name", "version", "fingerprint", "input_schema_json", "output_schema_json", "events", "options_json", "canonical_form")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    CANONICAL_FORM_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    fingerprint: str
    input_schema_json: bytes
    output_schema_json: bytes
    events: _containers.RepeatedScalarFieldContainer[str]
    options_json: bytes
    canonical_form: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., fingerprint: _Optional[str] = ..., input_schema_json: _Optional[bytes] = ..., output_schema_json: _Optional[bytes] = ..., events: _Optional[_Iterable[str]] = ..., options_json: _Optional[bytes] = ..., canonical_form: _Optional[int] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[WorkerView]
    def __init__(self, results: _Optional[_Iterable[_Union[WorkerView, _Mapping]]] = ...) -> None: ...

class WorkerView(_message.Message):
    __slots__ = ("incarnation", "name", "namespace", "status", "lease_ms", "lease_until", "registered_at", "seen_at", "running", "stuck")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    name: str
    namespace: str
    status: str
    lease_ms: int
    lease_until: int
    registered_at: int
    seen_at: int
    running: int
    stuck: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, incarnation: _Optional[str] = ..., name: _Optional[str] = ..., namespace: _Optional[str] = ..., status: _Optional[str] = ..., lease_ms: _Optional[int] = ..., lease_until: _Optional[int] = ..., registered_at: _Optional[int] = ..., seen_at: _Optional[int] = ..., running: _Optional[int] = ..., stuck: _Optional[_Iterable[str]] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("limit", "before")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    limit: int
    before: str
    def __init__(self, limit: _Optional[int] = ..., before: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    def __init__(self, results: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("id", "namespace", "run_id", "reason", "at", "detail")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    namespace: str
    run_id: str
    reason: str
    at: int
    detail: str
    def __init__(self, id: _Optional[str] = ..., namespace: _Optional[str] = ..., run_id: _Optional[str] = ..., reason: _Optional[str] = ..., at: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class RedriveDeadLetterRequest(_message.Message):
    __slots__ = ("id", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class Redriven(_message.Message):
    __slots__ = ("run_id", "verdict")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    verdict: str
    def __init__(self, run_id: _Optional[str] = ..., verdict: _Optional[str] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("version", "schema_version", "store", "now", "protocol")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    version: str
    schema_version: int
    store: str
    now: int
    protocol: int
    def __init__(self, version: _Optional[str] = ..., schema_version: _Optional[int] = ..., store: _Optional[str] = ..., now: _Optional[int] = ..., protocol: _Optional[int] = ...) -> None: ...

class GetBacklogRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBacklogResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Backlog]
    def __init__(self, results: _Optional[_Iterable[_Union[Backlog, _Mapping]]] = ...) -> None: ...

class Backlog(_message.Message):
    __slots__ = ("workflow", "version", "shard", "ready", "oldest_ms")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    OLDEST_MS_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: str
    shard: str
    ready: int
    oldest_ms: int
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., shard: _Optional[str] = ..., ready: _Optional[int] = ..., oldest_ms: _Optional[int] = ...) -> None: ...

class GetNamespaceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Namespace(_message.Message):
    __slots__ = ("name", "retention_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETENTION_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    retention_ms: int
    def __init__(self, name: _Optional[str] = ..., retention_ms: _Optional[int] = ...) -> None: ...

class SetRetentionRequest(_message.Message):
    __slots__ = ("retention_ms", "command_id")
    RETENTION_MS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    retention_ms: int
    command_id: str
    def __init__(self, retention_ms: _Optional[int] = ..., command_id: _Optional[str] = ...) -> None: ...

class GetChangesRequest(_message.Message):
    __slots__ = ("cursor", "wait_ms", "limit")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    wait_ms: int
    limit: int
    def __init__(self, cursor: _Optional[int] = ..., wait_ms: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class Changes(_message.Message):
    __slots__ = ("changes", "cursor")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    cursor: int
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., cursor: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("run_id", "workflow", "revision", "status", "reason", "at")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    revision: int
    status: str
    reason: str
    at: int
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., revision: _Optional[int] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., at: _Optional[int] = ...) -> None: ...

class StartRunsRequest(_message.Message):
    __slots__ = ("starts", "command_id")
    STARTS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    starts: _containers.RepeatedCompositeFieldContainer[StartRun]
    command_id: str
    def __init__(self, starts: _Optional[_Iterable[_Union[StartRun, _Mapping]]] = ..., command_id: _Optional[str] = ...) -> None: ...

class StartRun(_message.Message):
    __slots__ = ("id", "workflow", "version", "input", "shard", "shards", "priority", "reference_id", "on_conflict", "delay_ms", "options")
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ID_FIELD_NUMBER: _ClassVar[int]
    ON_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    workflow: str
    version: str
    input: bytes
    shard: str
    shards: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    reference_id: str
    on_conflict: str
    delay_ms: int
    options: RunOptions
    def __init__(self, id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., input: _Optional[bytes] = ..., shard: _Optional[str] = ..., shards: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ..., reference_id: _Optional[str] = ..., on_conflict: _Optional[str] = ..., delay_ms: _Optional[int] = ..., options: _Optional[_Union[RunOptions, _Mapping]] = ...) -> None: ...

class RunOptions(_message.Message):
    __slots__ = ("retry", "timeout_ms", "cancel_grace_ms", "attributes_json", "traceparent", "canonical_form", "ordering_key", "shard_key", "rerun_of")
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    CANONICAL_FORM_FIELD_NUMBER: _ClassVar[int]
    ORDERING_KEY_FIELD_NUMBER: _ClassVar[int]
    SHARD_KEY_FIELD_NUMBER: _ClassVar[int]
    RERUN_OF_FIELD_NUMBER: _ClassVar[int]
    retry: Retry
    timeout_ms: int
    cancel_grace_ms: int
    attributes_json: bytes
    traceparent: str
    canonical_form: int
    ordering_key: str
    shard_key: str
    rerun_of: str
    def __init__(self, retry: _Optional[_Union[Retry, _Mapping]] = ..., timeout_ms: _Optional[int] = ..., cancel_grace_ms: _Optional[int] = ..., attributes_json: _Optional[bytes] = ..., traceparent: _Optional[str] = ..., canonical_form: _Optional[int] = ..., ordering_key: _Optional[str] = ..., shard_key: _Optional[str] = ..., rerun_of: _Optional[str] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("attempts", "base_ms", "factor", "cap_ms", "jitter", "only", "stop")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    BASE_MS_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    CAP_MS_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    attempts: int
    base_ms: int
    factor: float
    cap_ms: int
    jitter: float
    only: _containers.RepeatedScalarFieldContainer[str]
    stop: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attempts: _Optional[int] = ..., base_ms: _Optional[int] = ..., factor: _Optional[float] = ..., cap_ms: _Optional[int] = ..., jitter: _Optional[float] = ..., only: _Optional[_Iterable[str]] = ..., stop: _Optional[_Iterable[str]] = ...) -> None: ...

class StartRunsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Started]
    def __init__(self, results: _Optional[_Iterable[_Union[Started, _Mapping]]] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("id", "wait_ms", "after_revision")
    ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    id: str
    wait_ms: int
    after_revision: int
    def __init__(self, id: _Optional[str] = ..., wait_ms: _Optional[int] = ..., after_revision: _Optional[int] = ...) -> None: ...

class RunResult(_message.Message):
    __slots__ = ("run", "output", "failure")
    RUN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    output: bytes
    failure: Failure
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ..., output: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class RunView(_message.Message):
    __slots__ = ("id", "namespace", "workflow", "version", "status", "revision", "attempt", "shard", "priority", "reference_id", "parent_id", "worker", "created_at", "started_at", "ended_at", "due_at", "stop_requested", "attributes_json", "rerun_of", "ordering_key", "shard_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_JSON_FIELD_NUMBER: _ClassVar[int]
    RERUN_OF_FIELD_NUMBER: _ClassVar[int]
    ORDERING_KEY_FIELD_NUMBER: _ClassVar[int]
    SHARD_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    namespace: str
    workflow: str
    version: str
    status: str
    revision: int
    attempt: int
    shard: str
    priority: int
    reference_id: str
    parent_id: str
    worker: str
    created_at: int
    started_at: int
    ended_at: int
    due_at: int
    stop_requested: str
    attributes_json: bytes
    rerun_of: str
    ordering_key: str
    shard_key: str
    def __init__(self, id: _Optional[str] = ..., namespace: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., status: _Optional[str] = ..., revision: _Optional[int] = ..., attempt: _Optional[int] = ..., shard: _Optional[str] = ..., priority: _Optional[int] = ..., reference_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., worker: _Optional[str] = ..., created_at: _Optional[int] = ..., started_at: _Optional[int] = ..., ended_at: _Optional[int] = ..., due_at: _Optional[int] = ..., stop_requested: _Optional[str] = ..., attributes_json: _Optional[bytes] = ..., rerun_of: _Optional[str] = ..., ordering_key: _Optional[str] = ..., shard_key: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("raised", "timed_out", "interrupted", "attempts_lost", "cancelled", "dead_letter", "child")
    RAISED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_LOST_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    CHILD_FIELD_NUMBER: _ClassVar[int]
    raised: Raised
    timed_out: TimedOut
    interrupted: Interrupted
    attempts_lost: AttemptsLost
    cancelled: Cancelled
    dead_letter: DeadLettered
    child: ChildEnded
    def __init__(self, raised: _Optional[_Union[Raised, _Mapping]] = ..., timed_out: _Optional[_Union[TimedOut, _Mapping]] = ..., interrupted: _Optional[_Union[Interrupted, _Mapping]] = ..., attempts_lost: _Optional[_Union[AttemptsLost, _Mapping]] = ..., cancelled: _Optional[_Union[Cancelled, _Mapping]] = ..., dead_letter: _Optional[_Union[DeadLettered, _Mapping]] = ..., child: _Optional[_Union[ChildEnded, _Mapping]] = ...) -> None: ...

class Raised(_message.Message):
    __slots__ = ("type", "message", "traceback", "cause", "retryable")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    cause: Raised
    retryable: bool
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., cause: _Optional[_Union[Raised, _Mapping]] = ..., retryable: _Optional[bool] = ...) -> None: ...

class TimedOut(_message.Message):
    __slots__ = ("timeout_ms", "what")
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    timeout_ms: int
    what: str
    def __init__(self, timeout_ms: _Optional[int] = ..., what: _Optional[str] = ...) -> None: ...

class Interrupted(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class AttemptsLost(_message.Message):
    __slots__ = ("task", "attempts")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    task: str
    attempts: int
    def __init__(self, task: _Optional[str] = ..., attempts: _Optional[int] = ...) -> None: ...

class Cancelled(_message.Message):
    __slots__ = ("reason", "cause", "forced")
    REASON_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    reason: str
    cause: Raised
    forced: bool
    def __init__(self, reason: _Optional[str] = ..., cause: _Optional[_Union[Raised, _Mapping]] = ..., forced: _Optional[bool] = ...) -> None: ...

class DeadLettered(_message.Message):
    __slots__ = ("losses",)
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    losses: int
    def __init__(self, losses: _Optional[int] = ...) -> None: ...

class ChildEnded(_message.Message):
    __slots__ = ("workflow", "run_id", "status", "raised", "timed_out", "interrupted", "attempts_lost", "cancelled", "dead_letter")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_LOST_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    run_id: str
    status: str
    raised: Raised
    timed_out: TimedOut
    interrupted: Interrupted
    attempts_lost: AttemptsLost
    cancelled: Cancelled
    dead_letter: DeadLettered
    def __init__(self, workflow: _Optional[str] = ..., run_id: _Optional[str] = ..., status: _Optional[str] = ..., raised: _Optional[_Union[Raised, _Mapping]] = ..., timed_out: _Optional[_Union[TimedOut, _Mapping]] = ..., interrupted: _Optional[_Union[Interrupted, _Mapping]] = ..., attempts_lost: _Optional[_Union[AttemptsLost, _Mapping]] = ..., cancelled: _Optional[_Union[Cancelled, _Mapping]] = ..., dead_letter: _Optional[_Union[DeadLettered, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("query", "order", "limit", "cursor")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    query: RunQuery
    order: str
    limit: int
    cursor: str
    def __init__(self, query: _Optional[_Union[RunQuery, _Mapping]] = ..., order: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class RunPage(_message.Message):
    __slots__ = ("runs", "next_cursor")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunView]
    next_cursor: str
    def __init__(self, runs: _Optional[_Iterable[_Union[RunView, _Mapping]]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("run", "transitions", "entries", "attempts", "waits", "facts", "divergence")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    DIVERGENCE_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    transitions: _containers.RepeatedCompositeFieldContainer[Transition]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    attempts: _containers.RepeatedCompositeFieldContainer[TaskAttempt]
    waits: _containers.RepeatedCompositeFieldContainer[Wait]
    facts: _containers.RepeatedCompositeFieldContainer[Fact]
    divergence: Divergence
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[Transition, _Mapping]]] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[TaskAttempt, _Mapping]]] = ..., waits: _Optional[_Iterable[_Union[Wait, _Mapping]]] = ..., facts: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ..., divergence: _Optional[_Union[Divergence, _Mapping]] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("run_id", "revision", "status", "reason", "at", "attempt", "epoch", "worker")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    revision: int
    status: str
    reason: str
    at: int
    attempt: int
    epoch: int
    worker: str
    def __init__(self, run_id: _Optional[str] = ..., revision: _Optional[int] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., at: _Optional[int] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., worker: _Optional[str] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("number", "kind", "address", "ordinal", "at", "name", "value", "failure", "fact_id", "due_at", "task_attempt", "started_at", "epoch", "arguments")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    FACT_ID_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    TASK_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    kind: str
    address: str
    ordinal: int
    at: int
    name: str
    value: bytes
    failure: Failure
    fact_id: str
    due_at: int
    task_attempt: int
    started_at: int
    epoch: int
    arguments: bytes
    def __init__(self, number: _Optional[int] = ..., kind: _Optional[str] = ..., address: _Optional[str] = ..., ordinal: _Optional[int] = ..., at: _Optional[int] = ..., name: _Optional[str] = ..., value: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., fact_id: _Optional[str] = ..., due_at: _Optional[int] = ..., task_attempt: _Optional[int] = ..., started_at: _Optional[int] = ..., epoch: _Optional[int] = ..., arguments: _Optional[bytes] = ...) -> None: ...

class TaskAttempt(_message.Message):
    __slots__ = ("address", "ordinal", "name", "number", "status", "started_at", "ended_at", "due_at", "failure", "epoch", "at_most_once")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_ONCE_FIELD_NUMBER: _ClassVar[int]
    address: str
    ordinal: int
    name: str
    number: int
    status: str
    started_at: int
    ended_at: int
    due_at: int
    failure: Failure
    epoch: int
    at_most_once: bool
    def __init__(self, address: _Optional[str] = ..., ordinal: _Optional[int] = ..., name: _Optional[str] = ..., number: _Optional[int] = ..., status: _Optional[str] = ..., started_at: _Optional[int] = ..., ended_at: _Optional[int] = ..., due_at: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., epoch: _Optional[int] = ..., at_most_once: _Optional[bool] = ...) -> None: ...

class Wait(_message.Message):
    __slots__ = ("kind", "name", "due_at")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    due_at: int
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., due_at: _Optional[int] = ...) -> None: ...

class Fact(_message.Message):
    __slots__ = ("id", "run_id", "kind", "name", "at", "value", "failure", "key")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    kind: str
    name: str
    at: int
    value: bytes
    failure: Failure
    key: str
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., at: _Optional[int] = ..., value: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class Divergence(_message.Message):
    __slots__ = ("left", "asked", "left_numbers", "left_starts", "diff", "fingerprint")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    LEFT_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    LEFT_STARTS_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    left: _containers.RepeatedScalarFieldContainer[str]
    asked: _containers.RepeatedScalarFieldContainer[str]
    left_numbers: _containers.RepeatedScalarFieldContainer[int]
    left_starts: _containers.RepeatedScalarFieldContainer[str]
    diff: str
    fingerprint: str
    def __init__(self, left: _Optional[_Iterable[str]] = ..., asked: _Optional[_Iterable[str]] = ..., left_numbers: _Optional[_Iterable[int]] = ..., left_starts: _Optional[_Iterable[str]] = ..., diff: _Optional[str] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("id", "command_id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class TerminateRunRequest(_message.Message):
    __slots__ = ("id", "command_id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseRunRequest(_message.Message):
    __slots__ = ("id", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class ResumeRunRequest(_message.Message):
    __slots__ = ("id", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class RedeliverRunRequest(_message.Message):
    __slots__ = ("id", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class WaiveEntriesRequest(_message.Message):
    __slots__ = ("id", "numbers", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    numbers: _containers.RepeatedScalarFieldContainer[int]
    command_id: str
    def __init__(self, id: _Optional[str] = ..., numbers: _Optional[_Iterable[int]] = ..., command_id: _Optional[str] = ...) -> None: ...

class RetryDivergedRequest(_message.Message):
    __slots__ = ("id", "command_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    command_id: str
    def __init__(self, id: _Optional[str] = ..., command_id: _Optional[str] = ...) -> None: ...

class SendEventResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: str
    def __init__(self, result: _Optional[str] = ...) -> None: ...

class RegisterWorkerRequest(_message.Message):
    __slots__ = ("incarnation", "name", "lease_ms", "workflows", "shards")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOWS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    name: str
    lease_ms: int
    workflows: _containers.RepeatedCompositeFieldContainer[WorkflowSpec]
    shards: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, incarnation: _Optional[str] = ..., name: _Optional[str] = ..., lease_ms: _Optional[int] = ..., workflows: _Optional[_Iterable[_Union[WorkflowSpec, _Mapping]]] = ..., shards: _Optional[_Iterable[str]] = ...) -> None: ...

class RegisterWorkerResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: int
    def __init__(self, result: _Optional[int] = ...) -> None: ...

class ClaimRunsRequest(_message.Message):
    __slots__ = ("claim_id", "incarnation", "offers", "limit", "shards", "wait_ms", "idle", "hints")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    incarnation: str
    offers: _containers.RepeatedCompositeFieldContainer[Offer]
    limit: int
    shards: _containers.RepeatedScalarFieldContainer[str]
    wait_ms: int
    idle: bool
    hints: _containers.RepeatedCompositeFieldContainer[Hint]
    def __init__(self, claim_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., offers: _Optional[_Iterable[_Union[Offer, _Mapping]]] = ..., limit: _Optional[int] = ..., shards: _Optional[_Iterable[str]] = ..., wait_ms: _Optional[int] = ..., idle: _Optional[bool] = ..., hints: _Optional[_Iterable[_Union[Hint, _Mapping]]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("workflow", "version", "fingerprint")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    version: str
    fingerprint: str
    def __init__(self, workflow: _Optional[str] = ..., version: _Optional[str] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class Hint(_message.Message):
    __slots__ = ("run_id", "workflow", "version", "shard")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    workflow: str
    version: str
    shard: str
    def __init__(self, run_id: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., shard: _Optional[str] = ...) -> None: ...

class Claims(_message.Message):
    __slots__ = ("runs", "now", "alone_waiting", "unknown")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    ALONE_WAITING_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[ClaimedRun]
    now: int
    alone_waiting: bool
    unknown: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, runs: _Optional[_Iterable[_Union[ClaimedRun, _Mapping]]] = ..., now: _Optional[int] = ..., alone_waiting: _Optional[bool] = ..., unknown: _Optional[_Iterable[str]] = ...) -> None: ...

class ClaimedRun(_message.Message):
    __slots__ = ("id", "namespace", "workflow", "version", "attempt", "epoch", "memo_version", "input", "memo", "inbox", "started_at", "reference_id", "parent_id", "shard", "options", "stop_cause", "alone", "rested")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MEMO_VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    MEMO_FIELD_NUMBER: _ClassVar[int]
    INBOX_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    STOP_CAUSE_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    RESTED_FIELD_NUMBER: _ClassVar[int]
    id: str
    namespace: str
    workflow: str
    version: str
    attempt: int
    epoch: int
    memo_version: int
    input: bytes
    memo: Memo
    inbox: _containers.RepeatedCompositeFieldContainer[Fact]
    started_at: int
    reference_id: str
    parent_id: str
    shard: str
    options: RunOptions
    stop_cause: str
    alone: bool
    rested: bool
    def __init__(self, id: _Optional[str] = ..., namespace: _Optional[str] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., memo_version: _Optional[int] = ..., input: _Optional[bytes] = ..., memo: _Optional[_Union[Memo, _Mapping]] = ..., inbox: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ..., started_at: _Optional[int] = ..., reference_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., shard: _Optional[str] = ..., options: _Optional[_Union[RunOptions, _Mapping]] = ..., stop_cause: _Optional[str] = ..., alone: _Optional[bool] = ..., rested: _Optional[bool] = ...) -> None: ...

class Memo(_message.Message):
    __slots__ = ("entries", "attempts", "children", "decisions", "next_number")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    attempts: _containers.RepeatedCompositeFieldContainer[TaskAttempt]
    children: _containers.RepeatedCompositeFieldContainer[ChildRef]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    next_number: int
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[TaskAttempt, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[ChildRef, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., next_number: _Optional[int] = ...) -> None: ...

class ChildRef(_message.Message):
    __slots__ = ("id", "key")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    key: str
    def __init__(self, id: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("kind", "numbers", "starts")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    numbers: _containers.RepeatedScalarFieldContainer[int]
    starts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[str] = ..., numbers: _Optional[_Iterable[int]] = ..., starts: _Optional[_Iterable[str]] = ...) -> None: ...

class RefuseMessagesRequest(_message.Message):
    __slots__ = ("incarnation", "messages")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    messages: _containers.RepeatedCompositeFieldContainer[RefusedMessage]
    def __init__(self, incarnation: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[RefusedMessage, _Mapping]]] = ...) -> None: ...

class RefusedMessage(_message.Message):
    __slots__ = ("queue", "entry", "reason", "content")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    queue: str
    entry: str
    reason: str
    content: str
    def __init__(self, queue: _Optional[str] = ..., entry: _Optional[str] = ..., reason: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class RefuseMessagesResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: int
    def __init__(self, result: _Optional[int] = ...) -> None: ...

class LoadMemoRequest(_message.Message):
    __slots__ = ("run_id", "epoch", "from_number")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    from_number: int
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., from_number: _Optional[int] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("incarnation", "reports")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    reports: _containers.RepeatedCompositeFieldContainer[RunReport]
    def __init__(self, incarnation: _Optional[str] = ..., reports: _Optional[_Iterable[_Union[RunReport, _Mapping]]] = ...) -> None: ...

class RunReport(_message.Message):
    __slots__ = ("run_id", "epoch", "attempt", "parent_id", "entries", "attempts", "children", "child_keys", "sends", "stops", "ending", "command_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    CHILD_KEYS_FIELD_NUMBER: _ClassVar[int]
    SENDS_FIELD_NUMBER: _ClassVar[int]
    STOPS_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    attempt: int
    parent_id: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    attempts: _containers.RepeatedCompositeFieldContainer[TaskAttempt]
    children: _containers.RepeatedCompositeFieldContainer[StartRun]
    child_keys: _containers.RepeatedScalarFieldContainer[str]
    sends: _containers.RepeatedCompositeFieldContainer[EventSend]
    stops: _containers.RepeatedCompositeFieldContainer[StopRequest]
    ending: Ending
    command_id: str
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., parent_id: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[TaskAttempt, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[StartRun, _Mapping]]] = ..., child_keys: _Optional[_Iterable[str]] = ..., sends: _Optional[_Iterable[_Union[EventSend, _Mapping]]] = ..., stops: _Optional[_Iterable[_Union[StopRequest, _Mapping]]] = ..., ending: _Optional[_Union[Ending, _Mapping]] = ..., command_id: _Optional[str] = ...) -> None: ...

class EventSend(_message.Message):
    __slots__ = ("id", "run_id", "name", "value", "key")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    name: str
    value: bytes
    key: str
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[bytes] = ..., key: _Optional[str] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("id", "run_id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Ending(_message.Message):
    __slots__ = ("park", "complete", "fail", "release", "diverge")
    PARK_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DIVERGE_FIELD_NUMBER: _ClassVar[int]
    park: Parked
    complete: Completed
    fail: Failed
    release: Released
    diverge: Diverged
    def __init__(self, park: _Optional[_Union[Parked, _Mapping]] = ..., complete: _Optional[_Union[Completed, _Mapping]] = ..., fail: _Optional[_Union[Failed, _Mapping]] = ..., release: _Optional[_Union[Released, _Mapping]] = ..., diverge: _Optional[_Union[Diverged, _Mapping]] = ...) -> None: ...

class Parked(_message.Message):
    __slots__ = ("waits",)
    WAITS_FIELD_NUMBER: _ClassVar[int]
    waits: _containers.RepeatedCompositeFieldContainer[Wait]
    def __init__(self, waits: _Optional[_Iterable[_Union[Wait, _Mapping]]] = ...) -> None: ...

class Completed(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: bytes
    def __init__(self, output: _Optional[bytes] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("failure", "retry_in_ms")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETRY_IN_MS_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    retry_in_ms: int
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., retry_in_ms: _Optional[int] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Diverged(_message.Message):
    __slots__ = ("divergence",)
    DIVERGENCE_FIELD_NUMBER: _ClassVar[int]
    divergence: Divergence
    def __init__(self, divergence: _Optional[_Union[Divergence, _Mapping]] = ...) -> None: ...

class Reported(_message.Message):
    __slots__ = ("outcomes", "now")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[ReportOutcome]
    now: int
    def __init__(self, outcomes: _Optional[_Iterable[_Union[ReportOutcome, _Mapping]]] = ..., now: _Optional[int] = ...) -> None: ...

class ReportOutcome(_message.Message):
    __slots__ = ("verdict", "detail")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    verdict: str
    detail: str
    def __init__(self, verdict: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("incarnation", "held", "claiming", "as_of", "draining", "stuck")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CLAIMING_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    held: _containers.RepeatedCompositeFieldContainer[Holding]
    claiming: _containers.RepeatedScalarFieldContainer[str]
    as_of: int
    draining: bool
    stuck: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, incarnation: _Optional[str] = ..., held: _Optional[_Iterable[_Union[Holding, _Mapping]]] = ..., claiming: _Optional[_Iterable[str]] = ..., as_of: _Optional[int] = ..., draining: _Optional[bool] = ..., stuck: _Optional[_Iterable[str]] = ...) -> None: ...

class Holding(_message.Message):
    __slots__ = ("run_id", "epoch")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class HeartbeatAnswer(_message.Message):
    __slots__ = ("lost", "now")
    LOST_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    lost: _containers.RepeatedCompositeFieldContainer[Holding]
    now: int
    def __init__(self, lost: _Optional[_Iterable[_Union[Holding, _Mapping]]] = ..., now: _Optional[int] = ...) -> None: ...

class ListenRequest(_message.Message):
    __slots__ = ("incarnation", "cursor", "wait_ms")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    cursor: int
    wait_ms: int
    def __init__(self, incarnation: _Optional[str] = ..., cursor: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class WorkerNews(_message.Message):
    __slots__ = ("facts", "held", "cursor", "now", "announcing")
    FACTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCING_FIELD_NUMBER: _ClassVar[int]
    facts: _containers.RepeatedCompositeFieldContainer[Fact]
    held: _containers.RepeatedCompositeFieldContainer[Holding]
    cursor: int
    now: int
    announcing: bool
    def __init__(self, facts: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ..., held: _Optional[_Iterable[_Union[Holding, _Mapping]]] = ..., cursor: _Optional[int] = ..., now: _Optional[int] = ..., announcing: _Optional[bool] = ...) -> None: ...

class LeaveWorkerRequest(_message.Message):
    __slots__ = ("incarnation",)
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    def __init__(self, incarnation: _Optional[str] = ...) -> None: ...

class LeaveWorkerResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: int
    def __init__(self, result: _Optional[int] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("number", "hello", "credits", "report", "heartbeat", "leave_worker")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    LEAVE_WORKER_FIELD_NUMBER: _ClassVar[int]
    number: int
    hello: Hello
    credits: Credits
    report: ReportRequest
    heartbeat: HeartbeatRequest
    leave_worker: LeaveWorkerRequest
    def __init__(self, number: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., credits: _Optional[_Union[Credits, _Mapping]] = ..., report: _Optional[_Union[ReportRequest, _Mapping]] = ..., heartbeat: _Optional[_Union[HeartbeatRequest, _Mapping]] = ..., leave_worker: _Optional[_Union[LeaveWorkerRequest, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("registration", "presence")
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    registration: RegisterWorkerRequest
    presence: int
    def __init__(self, registration: _Optional[_Union[RegisterWorkerRequest, _Mapping]] = ..., presence: _Optional[int] = ...) -> None: ...

class Credits(_message.Message):
    __slots__ = ("claim_id", "limit", "offers", "shards", "wait_ms", "idle", "hints")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    limit: int
    offers: _containers.RepeatedCompositeFieldContainer[Offer]
    shards: _containers.RepeatedScalarFieldContainer[str]
    wait_ms: int
    idle: bool
    hints: _containers.RepeatedCompositeFieldContainer[Hint]
    def __init__(self, claim_id: _Optional[str] = ..., limit: _Optional[int] = ..., offers: _Optional[_Iterable[_Union[Offer, _Mapping]]] = ..., shards: _Optional[_Iterable[str]] = ..., wait_ms: _Optional[int] = ..., idle: _Optional[bool] = ..., hints: _Optional[_Iterable[_Union[Hint, _Mapping]]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("number", "welcome", "claims", "reported", "heartbeat_answer", "worker_news", "refusal", "drain", "left")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ANSWER_FIELD_NUMBER: _ClassVar[int]
    WORKER_NEWS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    number: int
    welcome: Welcome
    claims: Claims
    reported: Reported
    heartbeat_answer: HeartbeatAnswer
    worker_news: WorkerNews
    refusal: Refusal
    drain: Drain
    left: Left
    def __init__(self, number: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., claims: _Optional[_Union[Claims, _Mapping]] = ..., reported: _Optional[_Union[Reported, _Mapping]] = ..., heartbeat_answer: _Optional[_Union[HeartbeatAnswer, _Mapping]] = ..., worker_news: _Optional[_Union[WorkerNews, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., left: _Optional[_Union[Left, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("now", "presence")
    NOW_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    now: int
    presence: int
    def __init__(self, now: _Optional[int] = ..., presence: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("error", "message")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    error: str
    message: str
    def __init__(self, error: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Left(_message.Message):
    __slots__ = ("now",)
    NOW_FIELD_NUMBER: _ClassVar[int]
    now: int
    def __init__(self, now: _Optional[int] = ...) -> None: ...
