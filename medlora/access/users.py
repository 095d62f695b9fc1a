"""The users of this installation: one private file, passwords as argon2id hashes.

Source: the parameters are argon2-cffi's defaults, the second recommendation of RFC 9106, section 4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from filelock import FileLock

from medlora.access.roles import Caller, Role
from medlora.errors import NotFoundError, UserError
from medlora.workspace import make_private, write_json

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASHER = PasswordHasher()
# The hash of no password: checking it takes as long as checking a real one.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$Zm9yZ290dGVuLWJ5LWV2ZXJ5Ym9keS1hbHdheXMhISE"


@dataclass(frozen=True)
class User:
    """One user. password: the hash; None for one who comes through a proxy's or the Hub's login alone."""

    name: str
    role: str
    password: str | None
    created: str

    @property
    def caller(self) -> Caller:
        return Caller(self.name, Role(self.role))


def check_password(password: str) -> str:
    """Raises: UserError for one that is too short or too long to be hashed in good time."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(
            f"password: {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters (got {len(password)}); "
            "several words are easy to remember"
        )
    return password


class Users:
    """The users' file; read anew when it changed, since the command line writes it too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "users.json"
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, User] = {}

    def all(self) -> list[User]:
        """Every user, by name."""
        return [user for _, user in sorted(self._read().items())]

    def find(self, name: str) -> User | None:
        """The user of that name; names do not differ by case alone."""
        return self._read().get(name.casefold())

    def add(self, name: str, role: Role, password: str | None) -> User:
        """Raises: UserError for a name that is taken or not usable, or a password that is too short."""
        if not _NAME.fullmatch(name):
            raise UserError(
                f"user: the name is not usable (got {name[:80]!r}); use up to 64 letters, digits, '.', '_', "
                "'@' or '-', starting with a letter or digit"
            )
        hashed = None if password is None else _HASHER.hash(check_password(password))
        with self._changing() as users:
            if name.casefold() in users:
                raise UserError(f"user: there is one of this name (got {name!r}); remove it first")
            user = User(name, role.value, hashed, datetime.now(UTC).isoformat(timespec="seconds"))
            users[name.casefold()] = user
        return user

    def remove(self, name: str) -> None:
        """Raises: NotFoundError."""
        with self._changing() as users:
            del users[self._named(users, name)]

    def set_password(self, name: str, password: str) -> None:
        """Raises: NotFoundError; UserError for a password that is too short."""
        hashed = _HASHER.hash(check_password(password))
        with self._changing() as users:
            key = self._named(users, name)
            users[key] = replace(users[key], password=hashed)

    def verify(self, name: str, password: str) -> User | None:
        """The user whose password this is; an unknown name takes as long as a wrong password."""
        user = self.find(name)
        hashed = user.password if user is not None and user.password else _NOBODY
        try:
            right = _HASHER.verify(hashed, password[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return None
        return user if right and hashed != _NOBODY else None

    def _named(self, users: dict[str, User], name: str) -> str:
        if name.casefold() not in users:
            known = sorted(user.name for user in users.values())
            raise NotFoundError.among("user: there is none of this name", name, known)
        return name.casefold()

    def _read(self) -> dict[str, User]:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return {}
        mark = (stat.st_mtime_ns, stat.st_ino)
        if mark != self._seen:
            self._users, self._seen = self._load(), mark
        return self._users

    def _load(self) -> dict[str, User]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return {item["name"].casefold(): User(**item) for item in values["users"]}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._path}: the users cannot be read ({type(error).__name__}); "
                "restore the file, or delete it and add the users again"
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        make_private(self._folder)
        with FileLock(str(self._folder / "users.lock"), timeout=30):
            users = dict(self._read())
            yield users
            write_json(self._path, {"users": [asdict(user) for user in users.values()]})
