"""Access: who calls, in which namespace, and whether the server lets them in."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from aiki.engine.starts import check_name
from aiki.errors import Unauthorized
from aiki.model.audit import Principal
from aiki.operations.base import Role
from aiki.server.problems import Refusal
from aiki.wire.calls import NAMESPACE_HEADER

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers, which hold no token."""
_NAMESPACE = NAMESPACE_HEADER.lower().encode()
_BEARER = b"bearer "


class Access:
    """Turns a request's headers into a principal."""

    def __init__(self, tokens: Sequence[str] = (), roles: frozenset[str] | None = None) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._roles = frozenset({"admin"}) if roles is None else roles

    def principal(self, headers: dict[bytes, bytes]) -> Principal:
        """Who calls; raises `Unauthorized` for a caller that no token lets in."""
        if self._tokens and not self._is_known(headers.get(b"authorization", b"")):
            raise Unauthorized(
                "this server asks for a token that it knows: Authorization: Bearer <token>"
            )
        return Principal(
            namespace=_namespace(headers), name="remote", roles=self._roles, remote=True
        )

    def _is_known(self, given: bytes) -> bool:
        """Every token is compared, in the same time, so that nothing is learnt from a guess."""
        scheme, token = given[: len(_BEARER)], given[len(_BEARER) :].strip()
        known = [hmac.compare_digest(token, each) for each in self._tokens]
        return scheme.lower() == _BEARER and any(known)


def _namespace(headers: dict[bytes, bytes]) -> str:
    given = headers.get(_NAMESPACE)
    if given is None:
        return "default"
    try:
        namespace = given.decode()
    except UnicodeDecodeError:
        raise Refusal(400, f"the header {NAMESPACE_HEADER} is not UTF-8") from None
    check_name("namespace", namespace)
    return namespace


def check_role(principal: Principal, role: Role) -> None:
    """Raise `Refusal` for an operation that takes another role."""
    if principal.roles.isdisjoint({"admin", role}):
        raise Refusal(403, f"{principal.name} lacks the role {role}")
