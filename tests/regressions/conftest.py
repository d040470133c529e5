"""The fixtures of this folder."""

from tests.engine.conftest import ring
from tests.support.fixtures import app, ledger, replay_always, resident

__all__ = ["app", "ledger", "replay_always", "resident", "ring"]
