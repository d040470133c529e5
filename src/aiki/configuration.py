"""The configuration: one frozen struct from `aiki.toml`, `AIKI_*` variables and flags."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from aiki.errors import ConfigurationError
from aiki.model.limits import NAME_LENGTH

FILE_NAME = "aiki.toml"
PREFIX = "AIKI_"
OTHER_VARIABLES = frozenset(
    {"AIKI_CONFIG", "AIKI_DEBUG", "AIKI_FAILPOINT", "AIKI_REPLAY_ALWAYS", "AIKI_TEST_WORKERS"}
)
"""Variables that are no settings."""

Count = Annotated[int, Meta(ge=1)]
Milliseconds = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen from outside; times in milliseconds."""

    url: Annotated[str, Meta(min_length=1)] = "sqlite:///aiki.db"
    namespace: Annotated[
        str, Meta(min_length=1, max_length=NAME_LENGTH, pattern=r"^[^:@{}#\x00-\x1f]*$")
    ] = "default"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_concurrent_runs: Count = 100
    max_resident_runs: Annotated[int, Meta(ge=0)] = 1_000
    task_threads: Count = 32
    lease_ms: Annotated[int, Meta(ge=1_000)] = 30_000
    heartbeat_interval_ms: Milliseconds | None = None
    """None: a third of the lease."""
    stall_limit_ms: Milliseconds = 60_000
    graceful_shutdown_timeout_ms: Annotated[int, Meta(ge=0)] = 5_000
    recovery_interval_ms: Milliseconds = 500
    stall_after_ms: Milliseconds = 24 * 3_600_000
    retention_ms: Milliseconds | None = 30 * 24 * 3_600_000
    """How long an ended run is kept; "none" keeps it for ever."""
    upkeep_interval_ms: Milliseconds = 60_000


class Loaded(NamedTuple):
    """The settings, and for each where its value came from."""

    settings: Settings
    sources: dict[str, str]


class _Given(NamedTuple):
    """A raw value, and where it stood in the words of whoever wrote it."""

    value: object
    source: str


_FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


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
    for name, value in found.items():
        if isinstance(value, dict):
            raise ConfigurationError(
                f"{file}: [{name}] is a table; settings stand at the top level of the file"
            )
        if name not in _FIELDS:
            raise ConfigurationError(f"{file}: there is no setting {name!r}{_instead(name)}")
    return {name: _Given(value, str(file)) for name, value in found.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _FIELDS:
            given[name] = _Given(value, variable)
        else:
            _refuse_misspelt(variable)
    return given


def _refuse_misspelt(variable: str) -> None:
    """Others may own variables with our prefix; only what is nearly a setting is a mistake."""
    near = closest(variable, [PREFIX + name.upper() for name in _FIELDS], cutoff=0.85)
    if near is not None:
        raise ConfigurationError(
            f"there is no variable {variable}; did you mean {near}? unset it otherwise"
        )


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that somebody probably meant."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def _instead(name: str) -> str:
    near = closest(name.lower().replace("-", "_"), _FIELDS)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; there are: {', '.join(_FIELDS)}"


def _converted(name: str, given: _Given) -> Any:
    field = _FIELDS[name]
    value = given.value
    if isinstance(value, str) and value.lower() == "none":
        value = None
    try:
        if isinstance(value, bool):
            raise msgspec.ValidationError("a number or a text is expected, got a boolean")
        return msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"{given.source}: {name} cannot be {given.value!r}: {_reason(field.type, error)}"
        ) from None


def _reason(kind: Any, error: msgspec.ValidationError) -> str:
    choices = get_args(kind)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(choices)} is expected"
    if "pattern" in str(error) or "regex" in str(error):
        return "leave out ':', '@', '#', braces and control characters"
    return re.sub("`", "", str(error)).replace("Expected", "expected")


def _check_together(settings: Settings) -> None:
    heartbeat = settings.heartbeat_interval_ms
    if heartbeat is not None and heartbeat * 2 > settings.lease_ms:
        raise ConfigurationError(
            f"heartbeat_interval_ms={heartbeat}: at most half of lease_ms={settings.lease_ms}, "
            "so that one lost heartbeat loses nothing"
        )
