"""The registry: the workflow versions that a worker executes, each given once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiki.errors import DefinitionError
from aiki.workflow.definition import Workflow

Registry = dict[tuple[str, str], Workflow[..., Any]]


def registry_of(workflows: Sequence[Workflow[..., Any]]) -> Registry:
    """The workflows by name and version; raises `DefinitionError` for what cannot be offered."""
    registry: Registry = {}
    for wf in workflows:
        if not isinstance(wf, Workflow):
            raise DefinitionError(f"{wf!r} is not a workflow: pass what @workflow(...) made")
        if (wf.name, wf.version) in registry:
            raise DefinitionError(f"workflow {wf.name} {wf.version} is given twice")
        registry[wf.name, wf.version] = wf
    if not registry:
        raise DefinitionError("a worker needs at least one workflow: workflows=[...]")
    return registry
