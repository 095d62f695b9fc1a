"""Reading and writing kept conversations. Whose they are is part of every question that is asked here.

An owner is the name somebody logged in with; the empty one is the person at this computer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from medlora.database import Database
from medlora.errors import NotFoundError
from medlora.history.migrations import MIGRATIONS
from medlora.workspace import Workspace

_LONGEST_NAME = 80


@dataclass(frozen=True)
class Turn:
    """What was said, and in `details` all that stands around it, as plain values."""

    role: str
    content: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """A conversation. named: somebody gave it this name; else it is its first question."""

    conversation_id: str
    owner: str = ""
    name: str = ""
    named: bool = False
    created: str = ""
    changed: str = ""
    speakers: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    size: int = 0


def has_history(ws: Workspace) -> bool:
    """Whether anybody ever wished to keep something here; until then there is no file."""
    return _database(ws).path.exists()


def reads_wish(ws: Workspace, owner: str) -> bool:
    """Whether this owner's conversations are to be kept."""
    if not has_history(ws):
        return False
    with _database(ws).connect() as db:
        row = db.execute("SELECT keeps FROM owners WHERE owner = ?", (owner,)).fetchone()
    return bool(row and row["keeps"])


def write_wish(ws: Workspace, owner: str, keeps: bool) -> None:
    """Remember the wish; the first one makes the file."""
    if keeps or has_history(ws):
        with _database(ws).connect(write=True) as db:
            db.execute("INSERT OR REPLACE INTO owners (owner, keeps) VALUES (?, ?)", (owner, int(keeps)))


def save(ws: Workspace, kept: Kept, *, only_if_there: bool = False) -> bool:
    """Keep a conversation as it stands now; whether it is kept.

    only_if_there: one that was deleted meanwhile does not come back.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with _database(ws).connect(write=True) as db:
        row = db.execute(
            "SELECT owner, name, named, created FROM conversations WHERE conversation_id = ?",
            (kept.conversation_id,),
        ).fetchone()
        if (row is None and only_if_there) or (row is not None and row["owner"] != kept.owner):
            return False
        name = row["name"] if row is not None else _name_of(kept.turns)
        db.execute(
            "INSERT INTO conversations (conversation_id, owner, name, named, created, changed, speakers) "
            "VALUES (?, ?, ?, 0, ?, ?, ?) ON CONFLICT (conversation_id) DO UPDATE SET "
            "name = excluded.name, changed = excluded.changed, speakers = excluded.speakers",
            (kept.conversation_id, kept.owner, name, now, now, json.dumps(list(kept.speakers))),
        )
        db.execute("DELETE FROM turns WHERE conversation_id = ?", (kept.conversation_id,))
        db.executemany(
            "INSERT INTO turns (conversation_id, position, role, content, details) VALUES (?, ?, ?, ?, ?)",
            [
                (kept.conversation_id, at, turn.role, turn.content, _dump(turn.details))
                for at, turn in enumerate(kept.turns)
            ],
        )
    return True


def find(ws: Workspace, owner: str | None, search: str = "") -> list[Kept]:
    """Conversations without their turns, the latest first; of every owner with None.

    search: words that must all stand in the name or in what was said, whatever their case.
    """
    if not has_history(ws):
        return []
    words = search.casefold().split()
    with _searching(ws) as db:
        rows = db.execute(
            "SELECT c.*, (SELECT count(*) FROM turns t WHERE t.conversation_id = c.conversation_id) AS size "
            "FROM conversations c WHERE (:owner IS NULL OR c.owner = :owner) AND (:words = '' OR holds("
            "c.name || char(10) || (SELECT group_concat(t.content, char(10)) FROM turns t "
            "WHERE t.conversation_id = c.conversation_id), :words)) "
            "ORDER BY c.changed DESC, c.conversation_id",
            {"owner": owner, "words": " ".join(words)},
        ).fetchall()
    return [_read(row) for row in rows]


def read(ws: Workspace, owner: str | None, conversation_id: str) -> Kept:
    """One conversation with its turns.

    Raises: NotFoundError, also for one of somebody else.
    """
    with _existing(ws, conversation_id) as db:
        row = db.execute(
            "SELECT *, 0 AS size FROM conversations WHERE conversation_id = :id "
            "AND (:owner IS NULL OR owner = :owner)",
            {"id": conversation_id, "owner": owner},
        ).fetchone()
        turns = db.execute(
            "SELECT role, content, details FROM turns WHERE conversation_id = ? ORDER BY position",
            (conversation_id,),
        ).fetchall()
    if row is None:
        raise _not_found(conversation_id)
    said = tuple(Turn(turn["role"], turn["content"], json.loads(turn["details"])) for turn in turns)
    return replace(_read(row), turns=said, size=len(said))


def rename(ws: Workspace, owner: str | None, conversation_id: str, name: str) -> None:
    """Give it a name of its own.

    Raises: NotFoundError.
    """
    with _existing(ws, conversation_id, write=True) as db:
        done = db.execute(
            "UPDATE conversations SET name = :name, named = 1 WHERE conversation_id = :id "
            "AND (:owner IS NULL OR owner = :owner)",
            {"name": name[:_LONGEST_NAME], "id": conversation_id, "owner": owner},
        )
        if not done.rowcount:
            raise _not_found(conversation_id)


def delete(ws: Workspace, owner: str | None, ids: Iterable[str]) -> int:
    """Delete for good; how many went."""
    if not has_history(ws):
        return 0
    gone = 0
    with _database(ws).connect(write=True) as db:
        for conversation_id in ids:
            gone += db.execute(
                "DELETE FROM conversations WHERE conversation_id = :id "
                "AND (:owner IS NULL OR owner = :owner)",
                {"id": conversation_id, "owner": owner},
            ).rowcount
    _database(ws).cut_log()
    return gone


@contextmanager
def _searching(ws: Workspace) -> Iterator[sqlite3.Connection]:
    with _database(ws).connect() as db:
        db.create_function("holds", 2, _holds, deterministic=True)
        yield db


@contextmanager
def _existing(ws: Workspace, conversation_id: str, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    if not has_history(ws):
        raise _not_found(conversation_id)
    with _database(ws).connect(write=write) as db:
        yield db


def _holds(text: str | None, words: str) -> int:
    """Why in Python: SQLite folds the case of ASCII alone."""
    folded = (text or "").casefold()
    return int(all(word in folded for word in words.split(" ")))


def _dump(details: Mapping[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False)


def _name_of(turns: tuple[Turn, ...]) -> str:
    """The first question, as far as it fits a line."""
    first = next((" ".join(turn.content.split()) for turn in turns if turn.role == "user"), "")
    return first if len(first) <= _LONGEST_NAME else first[: _LONGEST_NAME - 1].rstrip() + "…"


def _read(row: sqlite3.Row) -> Kept:
    return Kept(
        row["conversation_id"], row["owner"], row["name"], bool(row["named"]), row["created"],
        row["changed"], tuple(json.loads(row["speakers"])), (), row["size"],
    )  # fmt: skip


def _not_found(conversation_id: str) -> NotFoundError:
    return NotFoundError(
        f"conversation: there is none of this id (got {conversation_id!r}); `conversations list` names them"
    )


def _database(ws: Workspace) -> Database:
    return Database(ws.history / "conversations.db", MIGRATIONS, "conversations")
