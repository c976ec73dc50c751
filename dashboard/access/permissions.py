"""What a person or a token may do, and whose numbers they may see.

Owns permissions, roles and the principal that every request has. Does not own how somebody proves who they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal


class Permission(StrEnum):
    """One thing that can be allowed."""

    USAGE = "usage"
    """Counts: messages, conversations, active users, packages, how fresh they are, and what was refused."""
    MONEY = "money"
    """Charges, plans' prices and the final report."""
    WINDOWS = "windows"
    """A user's own windows and conversations: personal data."""
    EXPORT = "export"
    """Downloads and e-mails of what one may see."""
    ADMIN = "admin"
    """The audit log."""


ROLES: Final[dict[str, frozenset[Permission]]] = {
    "viewer": frozenset({Permission.USAGE, Permission.EXPORT}),
    "finance": frozenset({Permission.USAGE, Permission.EXPORT, Permission.MONEY}),
    "support": frozenset({Permission.USAGE, Permission.WINDOWS}),
    "admin": frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    name: str
    """The user's; of a token ``USER/TOKEN``."""
    permissions: frozenset[Permission]
    accounts: frozenset[str] | None
    """Whose numbers they may see; None = every account."""
    kind: Literal["session", "token", "header"]
    csrf_token: str = ""
    """What a form of this session must carry; "" = nothing has to, as no browser sends it by itself (a token)."""
    role: str = ""

    @property
    def user(self) -> str:
        """Return whose request it is, whichever of their tokens it came with."""
        return self.name.partition("/")[0] if self.kind == "token" else self.name

    def may(self, permission: Permission) -> bool:
        """Tell whether something is allowed."""
        return permission in self.permissions

    def sees(self, account: str) -> bool:
        """Tell whether an account's numbers may be shown."""
        return self.accounts is None or account in self.accounts
