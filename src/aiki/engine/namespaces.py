"""Namespaces: what is chosen for each."""

from __future__ import annotations

from aiki.engine.batch import Batch
from aiki.errors import InvalidRequest
from aiki.model.audit import Principal
from aiki.operations.catalog import Namespace, SetRetention


async def prepare_retention(operation: SetRetention, principal: Principal, batch: Batch) -> None:
    """Make the namespace known."""
    if operation.retention_ms is not None and operation.retention_ms < 0:
        raise InvalidRequest(f"retention_ms={operation.retention_ms}: 0 or more, or none")
    await batch.tx.save_namespace(principal.namespace, await batch.tx.now())


def apply_retention(operation: SetRetention, principal: Principal, batch: Batch) -> Namespace:
    """Keep what is chosen."""
    batch.set_retention(principal.namespace, operation.retention_ms)
    batch.add_audit(
        principal, "SetRetention", principal.namespace, f"retention_ms={operation.retention_ms}"
    )
    return Namespace(principal.namespace, operation.retention_ms)
