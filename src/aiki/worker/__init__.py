"""Workers: they execute workflows and tasks in the user's own processes."""

from aiki.worker.worker import Worker

__all__ = ["Worker"]
