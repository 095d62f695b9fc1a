"""Reading and writing answers, ratings and votes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from medlora.feedback.database import connect, cut_log
from medlora.feedback.records import Answer, RatedAnswer, Rating, Vote
from medlora.workspace import Workspace

_ANSWER = (
    "answer_id", "created", "turns", "text", "base_model", "adapter", "weights", "level", "action",
    "system_prompt", "settings", "catalogue", "whole",
)  # fmt: skip
_RATING = (
    "rating_id", "answer_id", "rater", "created", "changed", "safety", "correctness", "tone", "comment",
    "correction",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which records are meant; what is None does not narrow.

    adapter: a name; the empty string is every answer of a base model alone. since: the earliest time, as
    records write it.
    """

    adapter: str | None = None
    rater: str | None = None
    since: str | None = None


def save_rating(ws: Workspace, answer: Answer, rating: Rating) -> Rating:
    """Keep what was said; one person's second word on an answer takes the place of the first."""
    with connect(ws, write=True) as db:
        put_answers(db, [answer])
        before = db.execute(
            "SELECT rating_id, created FROM ratings WHERE answer_id = ? AND rater = ?",
            (rating.answer_id, rating.rater),
        ).fetchone()
        values = {name: getattr(rating, name) for name in _RATING}
        if before is not None:
            values |= {"rating_id": before["rating_id"], "created": before["created"]}
        _insert(db, "ratings", values, replace=True)
    return Rating(**values)


def save_vote(ws: Workspace, vote: Vote) -> None:
    """Keep a vote with both answers; one person's second vote on them takes the place of the first."""
    sides = (vote.left.answer_id, vote.right.answer_id)
    with connect(ws, write=True) as db:
        put_answers(db, [vote.left, vote.right])
        db.execute(
            "DELETE FROM votes WHERE rater = ? AND ((left_id = ? AND right_id = ?) OR "
            "(left_id = ? AND right_id = ?))",
            (vote.rater, *sides, *reversed(sides)),
        )
        values = {
            "vote_id": vote.vote_id,
            "created": vote.created,
            "rater": vote.rater,
            "verdict": vote.verdict,
            "blinded": int(vote.blinded),
            "left_id": vote.left.answer_id,
            "right_id": vote.right.answer_id,
        }
        _insert(db, "votes", values)


def put_answers(db: sqlite3.Connection, answers: Iterable[Answer]) -> None:
    """Answers that are not there yet, within a transaction that is open."""
    for answer in answers:
        values = {name: getattr(answer, name) for name in _ANSWER}
        values["turns"] = json.dumps([dict(turn) for turn in answer.turns], ensure_ascii=False)
        values["settings"] = json.dumps(dict(answer.settings), ensure_ascii=False, sort_keys=True)
        values["whole"] = int(answer.whole)
        _insert(db, "answers", values, ignore=True)


def list_ratings(ws: Workspace, selection: Selection | None = None) -> list[RatedAnswer]:
    """Ratings with their answers, the latest first."""
    where, values = _narrow(selection or Selection(), "r.changed", "a.adapter")
    columns = ", ".join([*(f"a.{name} AS a_{name}" for name in _ANSWER), *(f"r.{name}" for name in _RATING)])
    query = (
        f"SELECT {columns} FROM ratings r JOIN answers a USING (answer_id){where} "
        "ORDER BY r.changed DESC, r.rating_id"
    )
    with connect(ws) as db:
        rows = db.execute(query, values).fetchall()
    return [
        RatedAnswer(Rating(**{name: row[name] for name in _RATING}), read_answer(row, "a_")) for row in rows
    ]


def find_rating(ws: Workspace, answer_id: str, rater: str) -> Rating | None:
    """What this person said of this answer, if anything."""
    with connect(ws) as db:
        row = db.execute(
            f"SELECT {', '.join(_RATING)} FROM ratings WHERE answer_id = ? AND rater = ?", (answer_id, rater)
        ).fetchone()
    return Rating(**dict(row)) if row is not None else None


def list_votes(ws: Workspace, selection: Selection | None = None) -> list[Vote]:
    """Votes with their answers, the latest first; an adapter's are those with it on either side."""
    chosen = selection or Selection()
    where, values = _narrow(Selection(None, chosen.rater, chosen.since), "r.created", "")
    columns = [f"{side}.{name} AS {side}_{name}" for side in ("l", "g") for name in _ANSWER]
    query = (
        f"SELECT r.vote_id, r.created, r.rater, r.verdict, r.blinded, {', '.join(columns)} FROM votes r "
        f"JOIN answers l ON l.answer_id = r.left_id JOIN answers g ON g.answer_id = r.right_id{where} "
        "ORDER BY r.created DESC, r.vote_id"
    )
    with connect(ws) as db:
        rows = db.execute(query, values).fetchall()
    votes = [
        Vote(
            row["rater"], row["verdict"], read_answer(row, "l_"), read_answer(row, "g_"),
            bool(row["blinded"]), row["vote_id"], row["created"],
        )
        for row in rows
    ]  # fmt: skip
    if chosen.adapter is None:
        return votes
    return [vote for vote in votes if chosen.adapter in (vote.left.adapter or "", vote.right.adapter or "")]


def delete_records(ws: Workspace, ids: Iterable[str]) -> int:
    """Delete ratings and votes by their ids, and answers that nothing speaks of any more; how many went."""
    gone = 0
    with connect(ws, write=True) as db:
        for record_id in ids:
            for table, column in (("ratings", "rating_id"), ("votes", "vote_id")):
                gone += db.execute(f"DELETE FROM {table} WHERE {column} = ?", (record_id,)).rowcount
        drop_loose_answers(db)
    cut_log(ws)
    return gone


def rename_adapter(ws: Workspace, name: str, new_name: str) -> None:
    """What was said of an adapter stays with it under its new name."""
    with connect(ws, write=True) as db:
        db.execute("UPDATE answers SET adapter = ? WHERE adapter = ?", (new_name, name))


def drop_loose_answers(db: sqlite3.Connection) -> None:
    """Answers that no rating, vote or script speaks of go, within a transaction that is open."""
    db.execute(
        "DELETE FROM answers WHERE answer_id NOT IN (SELECT answer_id FROM ratings "
        "UNION SELECT left_id FROM votes UNION SELECT right_id FROM votes "
        "UNION SELECT answer_id FROM script_answers)"
    )


def _narrow(selection: Selection, time: str, adapter: str) -> tuple[str, list[str]]:
    parts, values = [], []
    if selection.rater is not None:
        parts.append("r.rater = ?")
        values.append(selection.rater)
    if selection.since is not None:
        parts.append(f"{time} >= ?")
        values.append(selection.since)
    if selection.adapter and adapter:
        parts.append(f"{adapter} = ?")
        values.append(selection.adapter)
    elif selection.adapter == "" and adapter:
        parts.append(f"{adapter} IS NULL")
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


def answer_columns(table: str, prefix: str) -> str:
    """The columns from which `read_answer` reads."""
    return ", ".join(f"{table}.{name} AS {prefix}{name}" for name in _ANSWER)


def read_answer(row: sqlite3.Row, prefix: str) -> Answer:
    """The answer in a row that was selected with `answer_columns`."""
    values: dict[str, Any] = {name: row[prefix + name] for name in _ANSWER}
    values["turns"] = tuple(json.loads(values["turns"]))
    values["settings"] = json.loads(values["settings"])
    values["whole"] = bool(values["whole"])
    return Answer(**values)


def _insert(
    db: sqlite3.Connection, table: str, values: dict[str, Any], *, replace: bool = False, ignore: bool = False
) -> None:
    how = "REPLACE" if replace else "IGNORE" if ignore else "ABORT"
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT OR {how} INTO {table} ({names}) VALUES ({marks})", list(values.values()))
