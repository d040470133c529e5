"""Behaviour suites for what users may write themselves; run them with pytest."""

from aiki.testing.subscribers import SubscriberBehaviour

__all__ = ["SubscriberBehaviour"]
