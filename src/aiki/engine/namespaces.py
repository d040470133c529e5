"""Namespaces: what is chosen for each."""

from __future__ import annotations

from aiki.engine.batch import Batch
from aiki.errors import InvalidRequest
from aiki.model.audit import Principal
from aiki.operations.catalog import Namespace, SetRetention


async def prepare_retention(operation: SetRetention, principal: Principal, batch: Batch) -> None:
    """Make the namespace known, and save what is chosen."""
    if operation.retention_ms is not None and operation.retention_ms < 0:
        raise InvalidRequest(f"retention_ms={operation.retention_ms}: 0 or more, or none")
    await batch.tx.save_namespace(principal.namespace, await batch.tx.now())
    await batch.tx.set_retention(principal.namespace, operation.retention_ms)


def apply_retention(operation: SetRetention, principal: Principal, batch: Batch) -> Namespace:
    """Answer what holds now."""
    batch.add_audit(
        principal, "SetRetention", principal.namespace, f"retention_ms={operation.retention_ms}"
    )
    return Namespace(principal.namespace, operation.retention_ms)
