"""Test scripts on disk: their prompts, who is to answer, what was answered so far, who is at it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from medlora.errors import NotFoundError
from medlora.feedback.database import connect, cut_log
from medlora.feedback.records import Answer, new_id, now
from medlora.feedback.store import answer_columns, drop_loose_answers, put_answers, read_answer
from medlora.workspace import Workspace

_COLUMNS = "script_id, name, created, prompts, seats, stop, owner_pid, owner_start, problem"


@dataclass(frozen=True)
class Prompt:
    """A question of a script. expect: what a good answer must hold; shown to raters, never to a model."""

    text: str
    expect: str = ""


@dataclass(frozen=True)
class Seat:
    """Who may answer: an adapter by name, or a base model alone.

    server: the address where base_model is offered; empty for a model of this machine.
    """

    adapter: str | None = None
    base_model: str = "starter"
    server: str = ""


@dataclass(frozen=True)
class Owner:
    """The process that runs a script, told apart from every later one with its pid."""

    pid: int
    start: float


@dataclass(frozen=True)
class Script:
    """A list of prompts and those who are to answer them.

    stop: somebody asked the run to end. owner: who runs it, or ran it last. problem: why the last run ended
    early; empty if it did not.
    """

    name: str
    prompts: tuple[Prompt, ...]
    seats: tuple[Seat, ...]
    script_id: str = field(default_factory=lambda: new_id("script"))
    created: str = field(default_factory=now)
    stop: bool = False
    owner: Owner | None = None
    problem: str = ""


Answers = dict[int, tuple[Answer, ...]]
"""The answers of each prompt that all have answered, in the order of the seats."""


def save_script(ws: Workspace, script: Script, answers: Answers | None = None) -> Script:
    """Keep a new script, with the answers that came with it."""
    prompts = [[prompt.text, prompt.expect] for prompt in script.prompts]
    seats = [[seat.adapter, seat.base_model, seat.server] for seat in script.seats]
    with connect(ws, write=True) as db:
        db.execute(
            "INSERT INTO scripts (script_id, name, created, prompts, seats) VALUES (?, ?, ?, ?, ?)",
            (script.script_id, script.name, script.created, _dump(prompts), _dump(seats)),
        )
        for position, given in (answers or {}).items():
            _link(db, script.script_id, position, given)
    return script


def list_scripts(ws: Workspace) -> list[Script]:
    """Every script, the newest first."""
    with connect(ws) as db:
        rows = db.execute(f"SELECT {_COLUMNS} FROM scripts ORDER BY created DESC, script_id").fetchall()
    return [_read(row) for row in rows]


def read_script(ws: Workspace, script_id: str) -> Script:
    """Raises: NotFoundError."""
    with connect(ws) as db:
        row = db.execute(f"SELECT {_COLUMNS} FROM scripts WHERE script_id = ?", (script_id,)).fetchone()
    if row is None:
        raise NotFoundError(
            f"script: there is none of this id (got {script_id[:80]!r}); `script list` names them"
        )
    return _read(row)


def delete_script(ws: Workspace, script_id: str) -> None:
    """Delete a script for good, and of its answers those that no rating and no vote speaks of.

    Raises: NotFoundError.
    """
    read_script(ws, script_id)
    with connect(ws, write=True) as db:
        db.execute("DELETE FROM scripts WHERE script_id = ?", (script_id,))
        drop_loose_answers(db)
    cut_log(ws)


def claim_script(ws: Workspace, script: Script, owner: Owner) -> bool:
    """Become the one who runs it, unless somebody else did since it was read; whether it worked."""
    before = script.owner
    with connect(ws, write=True) as db:
        changed = db.execute(
            "UPDATE scripts SET owner_pid = ?, owner_start = ?, stop = 0, problem = '' "
            "WHERE script_id = ? AND owner_pid IS ? AND owner_start IS ?",
            (
                owner.pid, owner.start, script.script_id,
                before.pid if before else None, before.start if before else None,
            ),
        ).rowcount  # fmt: skip
    return changed == 1


def release_script(ws: Workspace, script_id: str, problem: str = "") -> None:
    """The run has ended."""
    with connect(ws, write=True) as db:
        db.execute(
            "UPDATE scripts SET owner_pid = NULL, owner_start = NULL, problem = ? WHERE script_id = ?",
            (problem, script_id),
        )


def request_stop(ws: Workspace, script_id: str) -> None:
    """Ask whoever runs it to end after the present prompt; pressing again changes nothing."""
    with connect(ws, write=True) as db:
        db.execute("UPDATE scripts SET stop = 1 WHERE script_id = ?", (script_id,))


def keep_answers(ws: Workspace, script_id: str, position: int, answers: Sequence[Answer]) -> bool:
    """The answers to one prompt, all or none; False if the script was deleted meanwhile."""
    with connect(ws, write=True) as db:
        if db.execute("SELECT 1 FROM scripts WHERE script_id = ?", (script_id,)).fetchone() is None:
            return False
        _link(db, script_id, position, answers)
    return True


def _link(db: sqlite3.Connection, script_id: str, position: int, answers: Sequence[Answer]) -> None:
    put_answers(db, answers)
    db.executemany(
        "INSERT OR REPLACE INTO script_answers VALUES (?, ?, ?, ?)",
        [(script_id, position, seat, answer.answer_id) for seat, answer in enumerate(answers)],
    )


def read_answers(ws: Workspace, script: Script) -> Answers:
    """What was answered so far."""
    with connect(ws) as db:
        rows = db.execute(
            f"SELECT s.position, {answer_columns('a', 'a_')} FROM script_answers s "
            "JOIN answers a USING (answer_id) WHERE s.script_id = ? ORDER BY s.position, s.seat",
            (script.script_id,),
        ).fetchall()
    found: dict[int, list[Answer]] = {}
    for row in rows:
        found.setdefault(row["position"], []).append(read_answer(row, "a_"))
    return {place: tuple(given) for place, given in found.items() if len(given) == len(script.seats)}


def count_answered(ws: Workspace, script: Script) -> int:
    """How many prompts all have answered."""
    with connect(ws) as db:
        rows = db.execute(
            "SELECT count(*) FROM script_answers WHERE script_id = ? GROUP BY position HAVING count(*) = ?",
            (script.script_id, len(script.seats)),
        ).fetchall()
    return len(rows)


def _read(row: sqlite3.Row) -> Script:
    return Script(
        name=row["name"],
        prompts=tuple(Prompt(*prompt) for prompt in json.loads(row["prompts"])),
        seats=tuple(Seat(*seat) for seat in json.loads(row["seats"])),
        script_id=row["script_id"],
        created=row["created"],
        stop=bool(row["stop"]),
        owner=Owner(row["owner_pid"], row["owner_start"]) if row["owner_pid"] is not None else None,
        problem=row["problem"],
    )


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
