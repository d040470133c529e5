"""The configuration: one frozen struct from `aiki.toml`, `AIKI_*` variables and flags."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args

import msgspec
from msgspec import Meta

from aiki.errors import ConfigurationError
from aiki.model.limits import NAME_LENGTH
from aiki.redaction import HIDDEN, without_password

FILE_NAME = "aiki.toml"
PREFIX = "AIKI_"
OTHER_VARIABLES = frozenset(
    {"AIKI_CONFIG", "AIKI_DEBUG", "AIKI_FAILPOINT", "AIKI_REPLAY_ALWAYS", "AIKI_TEST_WORKERS"}
)
"""Variables that are no settings."""

Count = Annotated[int, Meta(ge=1)]
Milliseconds = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Url = Annotated[str, Meta(min_length=1)]
Token = Annotated[str, Meta(min_length=1, pattern=r"^[\x21-\x7e]+$")]
Shard = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH)]

_SECRETS = frozenset({"token"})
_URLS = frozenset({"url", "queue", "read_url", "listen_url"})
_BOOLEANS = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_FILE_SUFFIX = "_file"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen from outside; times in milliseconds."""

    url: Url = "sqlite:///aiki.db"
    namespace: Annotated[
        str, Meta(min_length=1, max_length=NAME_LENGTH, pattern=r"^[^:@{}#\x00-\x1f]*$")
    ] = "default"
    token: tuple[Token, ...] = ()
    """A client sends the first; a server accepts each, so that they can be exchanged one by one."""
    queue: Url | None = None
    """A broker that announces ready runs, for servers and workers alike; none: workers poll."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    graceful_shutdown_timeout_ms: Annotated[int, Meta(ge=0)] = 5_000

    max_concurrent_runs: Count = 100
    max_resident_runs: Annotated[int, Meta(ge=0)] = 1_000
    task_threads: Count = 32
    shards: tuple[Shard, ...] = ()
    """Of a worker; none given: every shard."""
    lease_ms: Annotated[int, Meta(ge=1_000)] = 30_000
    heartbeat_interval_ms: Milliseconds | None = None
    """None: a third of the lease."""
    stall_limit_ms: Milliseconds = 60_000

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8080
    """0: any that is free."""
    grpc_port: Port | None = 7070
    """0: any that is free; None: no gRPC."""
    tls_certificate_file: Annotated[str, Meta(min_length=1)] | None = None
    """A chain in PEM, for HTTPS and for gRPC; without it both speak plaintext."""
    tls_key_file: Annotated[str, Meta(min_length=1)] | None = None
    processes: Count = 1
    insecure: bool = False
    """Listen beyond this machine although no token is asked for."""
    migrate: bool = True
    """Bring the schema up to date at the start; without it an older one is refused."""
    daemons: bool = True
    read_url: Url | None = None
    """A replica that answers lists."""
    listen_url: Url | None = None
    """Past a pooler, for news."""
    pool_size: Count = 10
    """Connections to the database for reads."""
    max_body_bytes: Count = 16 * 1024 * 1024
    max_connections: Count = 20_000
    """This limit and those below are of each process."""
    max_requests: Count = 2_000
    """Answered at the same time; those that wait are counted apart."""
    max_waiting: Count = 10_000
    """Requests that wait for something to happen."""
    max_streams: Count = 1_000
    max_presences: Count = 10_000
    """Workers that show their presence."""
    recovery_interval_ms: Milliseconds = 500
    stall_after_ms: Milliseconds = 24 * 3_600_000
    retention_ms: Milliseconds | None = 30 * 24 * 3_600_000
    """How long an ended run is kept; "none" keeps it for ever."""
    upkeep_interval_ms: Milliseconds = 60_000

    def __repr__(self) -> str:
        """Without secrets, so that no log and no traceback can hold one."""
        values = (f"{name}={shown(name, getattr(self, name))}" for name in _FIELDS)
        return f"Settings({', '.join(values)})"

    @property
    def client_token(self) -> str | None:
        """What a client sends."""
        return self.token[0] if self.token else None


class Loaded(NamedTuple):
    """The settings, and for each where its value came from."""

    settings: Settings
    sources: dict[str, str]


class _Given(NamedTuple):
    """A raw value, and where it stood in the words of whoever wrote it."""

    value: object
    source: str


_FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}
_TUPLES = frozenset({"token", "shards"})
_KEYS = [
    *_FIELDS,
    *(name + _FILE_SUFFIX for name in _FIELDS if not name.endswith(_FILE_SUFFIX)),
]


def public(name: str, value: object) -> object:
    """A setting's value without what is secret: stars for it, and URLs without passwords."""
    if name in _SECRETS:
        return HIDDEN if value else None
    if name in _URLS and value is not None:
        return without_password(str(value))
    return value


def shown(name: str, value: object) -> str:
    """The same as a text for people."""
    value = public(name, value)
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in cast("tuple[object, ...]", value))
    return str(value)


def load(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Path | None = None,
    folder: Path = Path(),
) -> Loaded:
    """Defaults, then the file, then the environment, then flags that are not None: the last wins.

    `file` must exist; without it `aiki.toml` of the folder is read if there is one, or the file
    that `AIKI_CONFIG` names. Raises `ConfigurationError`, naming the source and the fix.
    """
    given = _from_file(_file(file, environment, folder))
    given.update(_from_environment(environment))
    for name, value in flags.items():
        if value is not None:
            given[name] = _Given(value, f"--{name.replace('_', '-')}")
    values = {name: _converted(name, each) for name, each in given.items()}
    settings = Settings(**values)
    _check_together(settings)
    return Loaded(
        settings, {name: given[name].source if name in given else "default" for name in _FIELDS}
    )


def _file(file: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    if file is None and environment.get("AIKI_CONFIG"):
        file = Path(environment["AIKI_CONFIG"])
    if file is None:
        usual = folder / FILE_NAME
        return usual if usual.is_file() else None
    if not file.is_file():
        raise ConfigurationError(
            f"the configuration file {file} does not exist; make it, or name another by --config"
        )
    return file


def _from_file(file: Path | None) -> dict[str, _Given]:
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML file that can be read: {error}") from None
    given: dict[str, _Given] = {}
    for key, value in found.items():
        if isinstance(value, dict):
            raise ConfigurationError(
                f"{file}: [{key}] is a table; settings stand at the top level of the file"
            )
        if key not in _KEYS:
            raise ConfigurationError(f"{file}: there is no setting {key!r}{_instead(key)}")
        _take(given, key, _name(key), value, str(file))
    return given


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key in _KEYS:
            _take(given, key, PREFIX + _name(key).upper(), value, variable)
        else:
            _refuse_misspelt(variable)
    return given


def _name(key: str) -> str:
    """The setting that a key gives, itself or by a file."""
    return key if key in _FIELDS else key.removesuffix(_FILE_SUFFIX)


def _take(given: dict[str, _Given], key: str, plain: str, value: object, source: str) -> None:
    """Note a value, or the content of the file that is named instead of it."""
    name = _name(key)
    if name in given:
        one_of = f"{plain} and {plain}{'_FILE' if plain.isupper() else _FILE_SUFFIX}"
        raise ConfigurationError(f"{source}: {one_of} are both given; leave one of them out")
    if key != name:
        value, source = _content(value, f"{source}: {key}"), f"{source} ({value})"
    given[name] = _Given(value, source)


def _content(file: object, where: str) -> str:
    """The file's text without one newline at its end; errors show the path, never the text."""
    if not isinstance(file, str) or not file:
        raise ConfigurationError(f"{where} is the path of a file, as a text")
    try:
        text = Path(file).read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where}: {file} is no text in UTF-8") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"{where}: {file} cannot be read ({reason}); make it, or name another"
        ) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ConfigurationError(f"{where}: {file} is empty; write the value into it")
    return text


def _refuse_misspelt(variable: str) -> None:
    """Others may own variables with our prefix; only what is nearly a setting is a mistake."""
    near = closest(variable, [PREFIX + key.upper() for key in _KEYS], cutoff=0.85)
    if near is not None:
        raise ConfigurationError(
            f"there is no variable {variable}; did you mean {near}? unset it otherwise"
        )


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that somebody probably meant."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def _instead(name: str) -> str:
    near = closest(name.lower().replace("-", "_"), _KEYS)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; there are: {', '.join(_FIELDS)}"


def _converted(name: str, given: _Given) -> Any:
    field = _FIELDS[name]
    try:
        return msgspec.convert(_prepared(name, given.value), field.type, strict=False)
    except msgspec.ValidationError as error:
        value = HIDDEN if name in _SECRETS else repr(given.value)
        if name in _URLS:
            value = without_password(value)
        raise ConfigurationError(
            f"{given.source}: {name} cannot be {value}: {_reason(name, field.type, error)}"
        ) from None


def _prepared(name: str, value: object) -> object:
    """What the words of a file or of the environment stand for."""
    if _FIELDS[name].type is bool:
        known = _BOOLEANS.get(str(value).lower())
        if known is None:
            raise msgspec.ValidationError("one of yes, no, true, false, on, off, 1, 0 is expected")
        return known
    if isinstance(value, bool):
        raise msgspec.ValidationError("a number or a text is expected, got a boolean")
    if isinstance(value, str) and value.lower() == "none":
        return () if name in _TUPLES else None
    if isinstance(value, str) and name in _TUPLES:
        return tuple(value.replace(",", " ").split())
    return value


def _reason(name: str, kind: Any, error: msgspec.ValidationError) -> str:
    choices = get_args(kind)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(choices)} is expected"
    if "pattern" in str(error) or "regex" in str(error):
        if name in _SECRETS:
            return "printable ASCII characters without spaces are expected"
        return "leave out ':', '@', '#', braces and control characters"
    return re.sub("`", "", str(error)).replace("Expected", "expected")


def _check_together(settings: Settings) -> None:
    heartbeat = settings.heartbeat_interval_ms
    if heartbeat is not None and heartbeat * 2 > settings.lease_ms:
        raise ConfigurationError(
            f"heartbeat_interval_ms={heartbeat}: at most half of lease_ms={settings.lease_ms}, "
            "so that one lost heartbeat loses nothing"
        )
    if (settings.tls_certificate_file is None) is not (settings.tls_key_file is None):
        raise ConfigurationError("TLS takes both, tls_certificate_file and tls_key_file")
