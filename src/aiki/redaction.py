"""Redaction: what may be shown of a text that holds a secret."""

from __future__ import annotations

import re

HIDDEN = "***"
# As much as could be a password is hidden, also one that holds "@" or "/" and should be escaped.
_USER_INFORMATION = re.compile(r"://([^:@/?]*):(.+)@")
_PARAMETER = re.compile(r"(?i)([?&][a-z_]*(?:password|passwd|token|secret)=)[^&#]*")


def without_password(url: str) -> str:
    """The URL, or several of them, with its passwords as `***`."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER_INFORMATION.sub(rf"://\1:{HIDDEN}@", url))
