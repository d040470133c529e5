"""Lists of runs: which of a query's filters leads, so that an index finds a page at once."""

from __future__ import annotations

from typing import Literal

from aiki.model.run import TERMINAL
from aiki.operations.runs import RunQuery

Leading = Literal["reference", "parent", "open", "failed", "workflow", "all"]


def leading_filter(query: RunQuery) -> Leading:
    """The filter that leaves the fewest runs, as far as the query alone tells."""
    statuses = set(query.status)
    if query.reference_id is not None and query.workflow is not None:
        return "reference"
    if query.parent_id is not None:
        return "parent"
    if statuses and not statuses & TERMINAL:
        return "open"
    if statuses and statuses <= {"failed", "cancelled"}:
        return "failed"
    return "workflow" if query.workflow is not None else "all"
