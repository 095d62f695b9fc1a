"""One private SQLite file: brought up to date, safe against a pulled plug and several writers.

Covered: processes killed in the middle of a write (SQLite's write-ahead log), pages and commands that write
at once (they wait for each other), files of older versions (migrated in one transaction), what is deleted
(overwritten in the file, and the log cut).
Not covered: copies that others made of the file, and what a disk keeps of blocks that it no longer uses.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medlora.errors import DISK_FULL, UserError
from medlora.workspace import make_private

_WAIT_S = 30.0
_LOOK_S = 0.02


@dataclass(frozen=True)
class Database:
    """A file and the steps that lead to its newest version. holds: what is in it, for messages.

    migrations: what leads from version n to n + 1, n counted from 0: an empty file.
    """

    path: Path
    migrations: tuple[str, ...]
    holds: str

    @contextmanager
    def connect(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for one piece of work; with `write` all of it happens or nothing.

        Raises: UserError for a file that is none of ours, is damaged, or was written by a newer version.
        """
        _create_private(self.path)
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        except sqlite3.Error as error:
            raise self._explain(error) from None
        try:
            self._prepare(connection)
            if not write:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from None
        finally:
            connection.close()

    def cut_log(self) -> None:
        """Bring everything into the file itself and empty the write-ahead log: it may hold what was deleted.

        Why a loop: somebody who reads at this moment keeps the log from being emptied.
        """
        deadline = time.monotonic() + _WAIT_S
        with self.connect() as connection:
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{self.path.name}: another program reads it, so its log still holds what was "
                        "deleted; close that and delete again"
                    )
                time.sleep(_LOOK_S)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        _use_log(connection)
        if _version(connection) != len(self.migrations):
            self._migrate(connection)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """All missing steps in one transaction; whoever comes second finds them done."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)
            if version > len(self.migrations):
                raise UserError(
                    f"{self.path.name}: it was written by a newer medlora (got version {version}, this one "
                    f"reads up to {len(self.migrations)}); update medlora, or move the file away to begin a "
                    "new one"
                )
            for step in self.migrations[version:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self.migrations)}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _explain(self, error: sqlite3.Error) -> Exception:
        """What SQLite found, for the user; a mistake in our own statements stays a bug."""
        name = self.path.name
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return UserError(f"{name}: another program holds it ({error}); close that and try again")
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            return UserError(DISK_FULL)
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            return error
        if isinstance(error, sqlite3.OperationalError) and "syntax" in str(error):
            return error
        return UserError(
            f"{name}: the {self.holds} cannot be read ({error}); move the file away to begin a new one, "
            "or put a backup in its place"
        )


def _create_private(path: Path) -> None:
    """Why before SQLite does: it would make the file readable for others; log and index follow its mode."""
    if not path.exists():
        make_private(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _use_log(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, once in a file's life.

    Why a loop: while another process looks at the file SQLite refuses the switch at once, without waiting.
    """
    deadline = time.monotonic() + _WAIT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
