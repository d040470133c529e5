"""The client: what an application holds to start runs and to follow them."""

from aiki.client.client import Client
from aiki.client.handle import RunHandle

__all__ = ["Client", "RunHandle"]
