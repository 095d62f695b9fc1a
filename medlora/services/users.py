"""The users' verbs: add, list, remove, another password; and the login, which the audit records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from medlora.access.attempts import Attempts, Key
from medlora.access.roles import Caller, Role
from medlora.access.sessions import SessionLimits, Sessions
from medlora.access.users import User, Users
from medlora.errors import UserError
from medlora.safety.audit import AuditLog
from medlora.workspace import Workspace

_log = logging.getLogger(__name__)


def open_users(ws: Workspace) -> Users:
    """The users of this installation."""
    return Users(ws.private / "access")


def list_users(ws: Workspace) -> list[User]:
    """Every user, by name."""
    return open_users(ws).all()


def add_user(ws: Workspace, name: str, role: str, password: str | None) -> User:
    """Add a user; without a password one that only a proxy's or the Hub's login lets in.

    Raises: UserError.
    """
    return open_users(ws).add(name, Role.parse(role), password)


def remove_user(ws: Workspace, name: str) -> None:
    """Remove a user; their sessions end at once.

    Raises: NotFoundError.
    """
    open_users(ws).remove(name)


def set_password(ws: Workspace, name: str, password: str) -> None:
    """Another password; the user's sessions end at once.

    Raises: NotFoundError, UserError.
    """
    open_users(ws).set_password(name, password)


class Door:
    """The login of a running app: who comes in, for how long, and how often it may be tried."""

    def __init__(
        self, ws: Workspace, limits: SessionLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.users = open_users(ws)
        self.sessions = Sessions(self.users, limits or SessionLimits(), clock)
        self._attempts = Attempts(clock)
        self._audit = AuditLog(ws.audit)

    def enter(self, name: str, password: str, address: str) -> str:
        """A new session's token.

        Raises: UserError for a wrong name or password, without saying which, and for tries too fast.
        """
        keys = (Key.name(name), Key.address(address))
        wait = self._attempts.begin(*keys)
        if wait > 0:
            raise UserError(f"Too many tries. Wait {max(1, round(wait))} seconds, then try again.")
        user = self.users.verify(name, password)
        if user is None:
            self._record("login refused", None)
            raise UserError("This name and password do not belong together.")
        self._attempts.succeed(*keys)
        self._record("login", user.caller)
        return self.sessions.begin(user)

    def leave(self, token: str) -> None:
        """End a session."""
        caller = self.sessions.caller(token)
        self.sessions.end(token)
        if caller is not None:
            self._record("logout", caller)

    def _record(self, event: str, caller: Caller | None) -> None:
        """Why no name with a refusal: people type their password into the field above it."""
        entry = {"event": event}
        if caller is not None:
            entry |= {"user": caller.name, "role": caller.role.value}
        try:
            self._audit.append(entry)
        except (OSError, UserError) as error:
            _log.error("a login could not be recorded (%s)", type(error).__name__)
