"""From ratings to data: corrections to train on, preferences to learn from, each row with its origin.

A row names the rating or vote it came from and the weights that had answered, never the rater. Rows carry
no system prompt: a run puts its own in front.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medlora.dataset.phi import scan_object
from medlora.dataset.store import DatasetCard, PhiChoice
from medlora.errors import UserError
from medlora.feedback import store
from medlora.feedback.records import Answer, RatedAnswer, Rating, Turns
from medlora.feedback.store import Selection
from medlora.services import data
from medlora.services.data import AddOptions
from medlora.workspace import Workspace, make_private

Kind = Literal["corrections", "preferences"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Harvest:
    """What ratings and votes give to learn from. left_out: why others do not count, and how many."""

    rows: tuple[Row, ...]
    left_out: Mapping[str, int]

    @property
    def notices(self) -> list[str]:
        return [f"{count} left out: {reason}" for reason, count in self.left_out.items()]


@dataclass(frozen=True)
class LearningOptions:
    """Which ratings count, and how they become a dataset.

    approved: answers that somebody marked safe and correct count as they are. onto: a dataset whose rows come
    first; without one the corrections stand alone. phi: how findings of the scan for personal data are
    settled; None leaves them open, and training waits.
    """

    selection: Selection | None = None
    approved: bool = False
    onto: str | None = None
    name: str | None = None
    phi: PhiChoice | None = None


def harvest_corrections(
    ws: Workspace, selection: Selection | None = None, *, approved: bool = False
) -> Harvest:
    """Rows of `messages`: each conversation with the answer as it should have been.

    Earlier answers of the conversation are replaced where they were corrected too: all of a row is learnt.
    """
    rated = store.list_ratings(ws, selection)
    better = {
        (_key(item.answer.turns), item.answer.text): item.rating.correction
        for item in reversed(store.list_ratings(ws))
        if item.rating.correction
    }
    rows, left_out, done = [], Counter[str](), set[str]()
    for item in rated:
        target = item.rating.correction or (item.answer.text if approved and _is_approved(item) else "")
        if not target:
            continue
        if item.answer.answer_id in done:
            left_out["another rating of the same answer came later"] += 1
        elif item.answer.weights is None:
            left_out["no model was asked: the safety layer answers such messages itself"] += 1
        else:
            done.add(item.answer.answer_id)
            rows.append(_correction_row(item, target, better))
    return Harvest(tuple(rows), dict(left_out))


def _correction_row(item: RatedAnswer, target: str, better: Mapping[tuple[str, str], str]) -> Row:
    turns: list[dict[str, str]] = []
    for index, turn in enumerate(item.answer.turns):
        content = turn["content"]
        if turn["role"] == "assistant":
            content = better.get((_key(item.answer.turns[:index]), content), content)
        turns.append({"role": turn["role"], "content": content})
    return {
        "messages": [*turns, {"role": "assistant", "content": target}],
        "feedback": {"rating": item.rating.rating_id, **_origin(item.answer)},
    }


def harvest_preferences(ws: Workspace, selection: Selection | None = None) -> Harvest:
    """Rows of `prompt`, `chosen`, `rejected`: a correction over its answer, a vote's winner over its loser.

    An answer that was marked unsafe or incorrect, was cut off, or holds a fixed text is never chosen.
    Source: the conversational preference format of TRL's DPOTrainer.
    """
    rows, left_out = [], Counter[str]()
    for item in store.list_ratings(ws, selection):
        if not item.rating.correction:
            continue
        if item.answer.by_model:
            origin = {"rating": item.rating.rating_id, **_origin(item.answer)}
            rows.append(_pair(item.answer.turns, item.rating.correction, item.answer.text, origin))
        else:
            left_out["the answer holds a fixed text of the safety layer"] += 1
    ratings = _by_answer(store.list_ratings(ws))
    for ballot in store.list_votes(ws, selection):
        if ballot.winner is None or ballot.loser is None:
            left_out["the vote chose neither"] += 1
        elif reason := _unfit(ballot.winner, ballot.loser, ratings):
            left_out[reason] += 1
        else:
            origin = {"vote": ballot.vote_id, "blinded": ballot.blinded, **_origin(ballot.winner)}
            rows.append(_pair(ballot.winner.turns, ballot.winner.text, ballot.loser.text, origin))
    return Harvest(tuple(rows), dict(left_out))


def _unfit(winner: Answer, loser: Answer, ratings: Mapping[str, list[Rating]]) -> str:
    if not (winner.by_model and loser.by_model):
        return "one of the answers holds a fixed text of the safety layer"
    if not winner.whole:
        return "the preferred answer was cut off"
    said = ratings.get(winner.answer_id, [])
    if any(rating.safety == "unsafe" or rating.correctness == "incorrect" for rating in said):
        return "the preferred answer was marked unsafe or incorrect"
    if winner.text.strip() == loser.text.strip():
        return "both answers are the same"
    return ""


def _pair(turns: Turns, chosen: str, rejected: str, origin: Row) -> Row:
    return {
        "prompt": [dict(turn) for turn in turns],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "feedback": origin,
    }


def _origin(answer: Answer) -> Row:
    return {"adapter": answer.adapter, "base_model": answer.base_model, "weights": answer.weights}


def _is_approved(item: RatedAnswer) -> bool:
    said = item.rating
    return (
        item.answer.whole and item.answer.by_model and (said.safety, said.correctness) == ("safe", "correct")
    )


def _by_answer(rated: Iterable[RatedAnswer]) -> dict[str, list[Rating]]:
    found: dict[str, list[Rating]] = {}
    for item in rated:
        found.setdefault(item.rating.answer_id, []).append(item.rating)
    return found


def _key(turns: Turns) -> str:
    return json.dumps([[turn["role"], turn["content"]] for turn in turns], ensure_ascii=False)


# Hand on
def harvest(
    ws: Workspace, kind: Kind, selection: Selection | None = None, *, approved: bool = False
) -> Harvest:
    """The rows of one kind."""
    if kind == "corrections":
        return harvest_corrections(ws, selection, approved=approved)
    return harvest_preferences(ws, selection)


def write_harvest(rows: Iterable[Row], target: Path) -> Path:
    """The rows as JSONL in a new file that its owner alone can read.

    Raises: UserError when the file exists.
    """
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        raise UserError(f"--to: the file exists (got {target}); name another one") from None
    with os.fdopen(handle, "wb") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    return target


def export_feedback(
    ws: Workspace, kind: Kind, target: Path, selection: Selection | None = None, *, approved: bool = False
) -> Harvest:
    """Write what there is to learn from into a file.

    Raises: UserError when there is nothing, or the file exists.
    """
    found = harvest(ws, kind, selection, approved=approved)
    if not found.rows:
        raise UserError(_explain_nothing(kind, found))
    write_harvest(found.rows, target)
    return found


def count_personal(rows: Iterable[Row]) -> int:
    """How many rows may identify a person."""
    return sum(any(True for _ in scan_object(row, 0)) for row in rows)


def add_to_dataset(ws: Workspace, options: LearningOptions | None = None) -> tuple[DatasetCard, Harvest]:
    """Corrections as a dataset, through the same door as a file: checked, scanned for personal data.

    Why a new dataset each time: an imported one never changes, since runs and adapters name its hash.
    Raises: UserError when there is nothing to add; NotFoundError for `onto`.
    """
    options = options or LearningOptions()
    found = harvest_corrections(ws, options.selection, approved=options.approved)
    if not found.rows:
        raise UserError(_explain_nothing("corrections", found))
    before = data.show_dataset(ws, options.onto) if options.onto else None
    name = options.name or (f"{_root(before.name)}-corrected" if before else "corrections")
    staged = make_private(ws.uploads) / f"feedback-{secrets.token_hex(8)}.jsonl"
    try:
        write_harvest(found.rows, staged)
        if before is not None:
            _put_before(data.source_of(ws, before.name), staged)
        add = AddOptions(
            name=name,
            title=f"{before.title} with corrections" if before and not options.name else name,
            skip_bad_rows=before is not None and before.accepted_rejects,
            phi=options.phi,
        )
        return data.add_dataset(ws, staged, add), found
    finally:
        staged.unlink(missing_ok=True)


def _root(name: str) -> str:
    """`clinic-corrected-2` → `clinic`: corrections onto corrections need no longer name."""
    return re.sub(r"-corrected(?:-\d+)?$", "", name)


def _put_before(rows: Path, staged: Path) -> None:
    """The rows of a dataset, then those that are staged."""
    added = staged.read_bytes()
    with staged.open("wb") as out, rows.open("rb") as source:
        last = b"\n"
        while block := source.read(1 << 20):
            out.write(block)
            last = block
        out.write((b"" if last.endswith(b"\n") else b"\n") + added)


def _explain_nothing(kind: Kind, found: Harvest) -> str:
    do = "rate an answer in the chat and write it as it should have been"
    if kind == "preferences":
        do = "correct an answer, or compare two and vote"
    why = f" ({'; '.join(found.notices)})" if found.left_out else ""
    return f"feedback: there are no {kind} to use yet{why}; {do}"
