"""The fixtures of this folder: an engine of its own, and a whole Aiki."""

from tests.engine.conftest import ring
from tests.support.fixtures import app, ledger

__all__ = ["app", "ledger", "ring"]
