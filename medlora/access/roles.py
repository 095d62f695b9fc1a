"""Three roles and what each may do.

Why permissions beside roles: a handler says what it needs, a role what it may, and neither lists the other.
Whatever does not say what it needs, needs MANAGE: forgetting it locks a door, it does not open one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from medlora.errors import UserError


class Permission(Enum):
    """What a visitor may do."""

    CHAT = "chat"
    TRY_SAFETY = "try the safety layer"
    RATE = "rate answers"
    WATCH = "look at datasets and runs"
    TRY_RUN = "start a demo's short run"
    MANAGE = "everything else"


class Role(Enum):
    """Who a visitor is."""

    ADMIN = "admin"
    TESTER = "tester"
    GUEST = "guest"

    @classmethod
    def parse(cls, word: str) -> Role:
        """Raises: UserError. A guest is whom a demo lets in; nobody is made one."""
        if word not in (cls.ADMIN.value, cls.TESTER.value):
            raise UserError(f"role: there is no such role (got {word!r}); use admin or tester")
        return cls(word)


_MAY = {
    Role.ADMIN: frozenset(Permission),
    Role.TESTER: frozenset({Permission.CHAT, Permission.TRY_SAFETY, Permission.RATE}),
    Role.GUEST: frozenset({Permission.CHAT, Permission.TRY_SAFETY, Permission.WATCH, Permission.TRY_RUN}),
}


@dataclass(frozen=True)
class Caller:
    """Whoever a request comes from. An empty name: nobody had to say who they are."""

    name: str
    role: Role

    def may(self, permission: Permission) -> bool:
        return permission in _MAY[self.role]


OWNER = Caller("", Role.ADMIN)
"""The person at this computer, where no login is asked for."""
GUEST = Caller("", Role.GUEST)
"""A visitor of a demo."""
