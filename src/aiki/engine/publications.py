"""Publications: where ready runs were announced, as the publishing has it noted."""

from __future__ import annotations

from typing import ClassVar

from aiki.engine.batch import Batch
from aiki.model.audit import Principal
from aiki.operations.base import Operation, Role
from aiki.store.records import Announcement, Place


class NotePublished(Operation[int], frozen=True, kw_only=True):
    """Keep where ready runs were announced. Sent by the publishing alone."""

    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True

    noted: tuple[tuple[Announcement, Place], ...]


async def prepare_note(operation: NotePublished, principal: Principal, batch: Batch) -> None:
    """Keep them; whatever is not ready any more is left out."""
    await batch.tx.note_published(operation.noted, await batch.tx.now())


def apply_note(operation: NotePublished, principal: Principal, batch: Batch) -> int:
    """Done before."""
    return len(operation.noted)


class ForgetPublications(Operation[int], frozen=True, kw_only=True):
    """Drop notes on runs that are not ready any more. Sent by the publishing alone."""

    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True


async def prepare_forget(operation: ForgetPublications, principal: Principal, batch: Batch) -> None:
    """Drop them."""
    await batch.tx.forget_publications()


def apply_forget(operation: ForgetPublications, principal: Principal, batch: Batch) -> int:
    """Done before."""
    return 0
