"""Opening the file: private, brought up to date, safe against a pulled plug and several writers.

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
from pathlib import Path

from medlora.errors import UserError
from medlora.feedback.migrations import MIGRATIONS
from medlora.workspace import Workspace, make_private

_WAIT_S = 30.0
_LOOK_S = 0.02


def database_path(ws: Workspace) -> Path:
    """Where ratings lie."""
    return ws.feedback / "feedback.db"


@contextmanager
def connect(ws: Workspace, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for one piece of work; with `write` all of it happens or nothing.

    Raises: UserError for a file that is none of ours, is damaged, or was written by a newer version.
    """
    path = database_path(ws)
    _create_private(path)
    try:
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    except sqlite3.Error as error:
        raise _explain(path, error) from None
    try:
        _prepare(connection, path)
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
        raise _explain(path, error) from None
    finally:
        connection.close()


def cut_log(ws: Workspace) -> None:
    """Bring everything into the file itself and empty the write-ahead log: it may hold what was deleted."""
    with connect(ws) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _create_private(path: Path) -> None:
    """Why before SQLite does: it would make the file readable for others; log and index follow its mode."""
    if not path.exists():
        make_private(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    _use_log(connection)
    if _version(connection) != len(MIGRATIONS):
        _migrate(connection, path)


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


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """All missing steps in one transaction; whoever comes second finds them done."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise UserError(
                f"{path.name}: it was written by a newer medlora (got version {version}, this one reads "
                f"up to {len(MIGRATIONS)}); update medlora, or move the file away to begin a new one"
            )
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _explain(path: Path, error: sqlite3.Error) -> Exception:
    """What SQLite found, for the user; a mistake in our own statements stays a bug."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return UserError(f"{path.name}: another program holds it ({error}); close that and try again")
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return error
    if isinstance(error, sqlite3.OperationalError) and "syntax" in str(error):
        return error
    return UserError(
        f"{path.name}: the ratings cannot be read ({error}); move the file away to begin a new one, "
        "or put a backup in its place"
    )
