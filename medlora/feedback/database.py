"""Where ratings lie: one private SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from medlora.database import Database
from medlora.feedback.migrations import MIGRATIONS
from medlora.workspace import Workspace


def database_path(ws: Workspace) -> Path:
    """Where ratings lie."""
    return ws.feedback / "feedback.db"


def connect(ws: Workspace, *, write: bool = False) -> AbstractContextManager[sqlite3.Connection]:
    """A connection for one piece of work; with `write` all of it happens or nothing.

    Raises: UserError for a file that is none of ours, is damaged, or was written by a newer version.
    """
    return _database(ws).connect(write=write)


def cut_log(ws: Workspace) -> None:
    """Bring everything into the file itself and empty the write-ahead log: it may hold what was deleted."""
    _database(ws).cut_log()


def _database(ws: Workspace) -> Database:
    return Database(database_path(ws), MIGRATIONS, "ratings")
