"""Failpoints: named places where a test may make the process die, fail or wait."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

armed: dict[str, Callable[[], None]] = {}
"""What happens at a named place; empty outside tests."""

NAMES = (
    "before_transaction",
    "before_commit",
    "after_commit_before_reply",
    "after_commit_before_publish",
    "after_publish_before_note",
    "after_claim_before_reply",
    "after_claim",
    "before_task",
    "after_effect_before_report",
    "after_report_before_next",
)


def hit(name: str) -> None:
    """Pass a named place."""
    if armed:
        action = armed.get(name)
        if action is not None:
            action()


def arm_from_environment() -> None:
    """`AIKI_FAILPOINT=name:count` kills the process when the place is passed the count-th time."""
    setting = os.environ.get("AIKI_FAILPOINT")
    if not setting:
        return
    name, _, count = setting.partition(":")
    remaining = [int(count or 1)]

    def die() -> None:
        remaining[0] -= 1
        if remaining[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    armed[name] = die
