"""An application: the file or module that a user names, and the workflows in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

from aiki.configuration import closest
from aiki.errors import ConfigurationError, DefinitionError
from aiki.workflow.definition import Workflow, WorkflowFamily

Workflows = list[Workflow[..., Any]]


class Application(NamedTuple):
    """Where the code is: a module's name below a root folder, and what to take from it."""

    text: str
    module: str
    root: Path
    """Goes on `sys.path`."""
    folder: Path
    """What is watched for changes."""
    attribute: str | None

    @classmethod
    def named(cls, text: str) -> Application:
        """The application that `app.py`, `app.py:name` or `package.module:name` names."""
        target, colon, attribute = text.partition(":")
        if colon and not attribute:
            raise ConfigurationError(f"{text!r} ends with a colon; name a workflow behind it")
        if target.endswith(".py") or os.sep in target or Path(target).is_dir():
            module, root, folder = _of_file(Path(target))
        else:
            module, root, folder = _of_module(target)
        return cls(text, module, root, folder, attribute or None)

    def load(self) -> Workflows:
        """Import it, and find its workflows; user code's errors become one line each."""
        sys.path.insert(0, str(self.root))
        try:
            module = importlib.import_module(self.module)
        except (Exception, SystemExit) as error:
            raise DefinitionError(
                f"{self.text} cannot be imported: {_place(error, self.root)}"
            ) from (error)
        if self.attribute is None:
            return _found_in(self.text, module)
        return _taken(self.text, module, self.attribute)


def _of_file(path: Path) -> tuple[str, Path, Path]:
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it: {path / 'app.py'}")
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}{_neighbour(path)}")
    if path.suffix != ".py":
        raise ConfigurationError(f"{path} is no Python file; name one that ends with .py")
    path = path.resolve()
    parts, root = [path.stem], path.parent
    # A file of a package is imported by its whole name, so that its relative imports work.
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if parts[0] in sys.stdlib_module_names or parts[0] == "aiki":
        raise ConfigurationError(
            f"{path.name} would hide the module {parts[0]!r} that Python or Aiki needs; "
            f"rename it, to my_{parts[0]}.py for example"
        )
    return ".".join(parts), root, path.parent


def _neighbour(path: Path) -> str:
    try:
        known = [each.name for each in path.parent.iterdir() if each.suffix == ".py"]
    except OSError:
        return f", and no folder {path.parent}"
    near = closest(path.name, known)
    return f"; did you mean {path.with_name(near)}?" if near else ""


def _of_module(name: str) -> tuple[str, Path, Path]:
    root = Path.cwd()
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"{name!r} names neither a file nor a module; for example app.py or package.module"
        )
    first = name.partition(".")[0]
    if (root / f"{first}.py").is_file():
        return name, root, root
    if (root / first).is_dir():
        return name, root, root / first
    found = importlib.util.find_spec(first)
    if found is None:
        raise ConfigurationError(f"there is no module {first!r} here{_as_file(name)}")
    folder = Path(found.origin).parent if found.origin and found.has_location else root
    return name, root, folder


def _as_file(name: str) -> str:
    return f"; did you mean {name}.py?" if Path(f"{name}.py").is_file() else f" in {Path.cwd()}"


def _place(error: BaseException, root: Path) -> str:
    """The error and the user's line that raised it."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    if isinstance(error, SystemExit):
        return 'it ended the process; put what runs it under `if __name__ == "__main__":`'
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    if isinstance(error, DefinitionError):
        text = error.message
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    return f"{own[-1].filename}:{own[-1].lineno}: {text}" if own else text


def _found_in(text: str, module: ModuleType) -> Workflows:
    found = _distinct(vars(module).values())
    if found:
        return found
    families = [each.name for each in vars(module).values() if isinstance(each, WorkflowFamily)]
    if families:
        raise DefinitionError(
            f"{text}: workflow {families[0]!r} has no version yet; define one by "
            '@....version("1.0.0") above an `async def`'
        )
    raise DefinitionError(
        f"{text} defines no workflow; define one by "
        '@aiki.workflow("name").version("1.0.0") above an `async def`'
    )


def _distinct(values: Iterable[object]) -> Workflows:
    found: Workflows = []
    for each in values:
        if isinstance(each, Workflow) and not any(each is known for known in found):
            found.append(cast("Workflow[..., Any]", each))
    return found


def _taken(text: str, module: ModuleType, attribute: str) -> Workflows:
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name, each in vars(module).items() if isinstance(each, Workflow)]
            near = closest(part, names)
            fix = (
                f"did you mean {near}?" if near else f"its workflows: {', '.join(names) or 'none'}"
            )
            raise ConfigurationError(f"{text}: there is no {part!r} in it; {fix}")
        value = getattr(value, part)
    kind = type(value).__name__
    several: list[object] = [value]
    if isinstance(value, list | tuple | set):
        several = list(cast("Iterable[object]", value))
    found = _distinct(several)
    if not found or len(found) < len(several):
        raise DefinitionError(
            f"{text} is {kind}, not a workflow or a list of workflows: "
            "name what @workflow(...).version(...) made"
        )
    return found
