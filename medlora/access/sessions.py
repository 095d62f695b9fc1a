"""Sessions after a login: a random token in a cookie, its SHA-256 here, an end in time."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from medlora.access.roles import Caller
from medlora.access.users import User, Users

_MOST_SESSIONS = 1000


@dataclass(frozen=True)
class SessionLimits:
    """How long a session lasts. Units: seconds; idle: without any request, as after closing the browser."""

    lifetime_s: float = 12 * 3600
    idle_s: float = 3600


@dataclass(frozen=True)
class _Session:
    user: User
    began: float
    used: float


class Sessions:
    """The sessions of this process; a restart ends them all.

    A session also ends when its user is removed, gets another role or another password.
    """

    def __init__(self, users: Users, limits: SessionLimits, clock: Callable[[], float]) -> None:
        self._users = users
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, _Session] = {}

    def begin(self, user: User) -> str:
        """A new session's token, which only the cookie holds."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._drop_old(now)
            self._open[_digest(token)] = _Session(user, now, now)
        return token

    def caller(self, token: str) -> Caller | None:
        """Whose session this is; None when it has ended."""
        key, now = _digest(token), self._clock()
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return None
            if self._is_over(session, now) or self._users.find(session.user.name) != session.user:
                del self._open[key]
                return None
            self._open[key] = replace(session, used=now)
        return session.user.caller

    def end(self, token: str) -> None:
        with self._lock:
            self._open.pop(_digest(token), None)

    def _is_over(self, session: _Session, now: float) -> bool:
        return now - session.began > self._limits.lifetime_s or now - session.used > self._limits.idle_s

    def _drop_old(self, now: float) -> None:
        for key in [key for key, session in self._open.items() if self._is_over(session, now)]:
            del self._open[key]
        while len(self._open) >= _MOST_SESSIONS:
            del self._open[next(iter(self._open))]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
