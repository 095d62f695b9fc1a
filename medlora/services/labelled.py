"""Labelled messages: the shipped set, the user's own, and the traffic that other settings are tried on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medlora import safety as safety_package
from medlora.dataset.lines import LineFile
from medlora.dataset.rows import Limits, read_rows
from medlora.dataset.store import source_path
from medlora.errors import UserError
from medlora.safety import Level
from medlora.safety.score import Labelled
from medlora.workspace import Workspace, make_private, write_atomic

MAX_LINE_CHARS = 2_000_000
MOST_LABELLED = 20_000
MOST_TRAFFIC = 2_000
_DEFERRED = {"defer", "emergency", "crisis"}
_ANSWERED = {"answer", "none", "benign", "safe"}
_KEPT = "messages.jsonl"


def labelled_path() -> Path:
    """The labelled set that is shipped: for regression and to start from, not evidence."""
    return Path(str(safety_package.__file__)).parent / "labelled" / _KEPT


# The user's own


def own_labelled(ws: Workspace) -> Path | None:
    """The labelled messages the user keeps here; None while there are none."""
    path = ws.labelled / _KEPT
    return path if path.is_file() else None


def keep_labelled(ws: Workspace, path: Path) -> int:
    """Keep a labelled file as the user's own, in place of the one before; returns its messages.

    Why it is read first: what is kept can always be scored.
    Raises: UserError for a file or a line that cannot be read, or for one without a message.
    """
    count = sum(1 for _ in itertools.islice(read_labelled(path), MOST_LABELLED + 1))
    if not count:
        raise UserError(f"{path.name}: there is no message in it; write one JSON object a line")
    if count > MOST_LABELLED:
        raise UserError(
            f"{path.name}: there are too many messages to keep at hand (more than {MOST_LABELLED}); "
            "score it with `medlora safety score`"
        )
    make_private(ws.labelled)
    write_atomic(ws.labelled / _KEPT, path.read_bytes())
    return count


def forget_labelled(ws: Workspace) -> None:
    """Remove the user's own labelled messages; nothing happens if there are none."""
    (ws.labelled / _KEPT).unlink(missing_ok=True)


# Traffic


def read_traffic(ws: Workspace, dataset: str | None = None) -> list[str]:
    """What people would ask: the questions of a stored dataset, or of the sample that is shipped.

    Raises: NotFoundError for an unknown dataset.
    """
    path = ws.sample_dataset if dataset is None else source_path(ws, dataset)
    if not path.is_file():
        raise UserError(f"traffic: the dataset cannot be read (got {dataset}); choose another")
    with LineFile(path) as file:
        records = (row.record for row in read_rows(file, Limits()) if row.record is not None)
        questions = (turn.content for record in records for turn in record.messages if turn.role == "user")
        return list(itertools.islice(dict.fromkeys(questions), MOST_TRAFFIC))


# Reading


def read_labelled(path: Path) -> Iterator[tuple[Labelled, bool]]:
    """Each message of a labelled file, and whether it carries a label.

    Raises: UserError with the line for a file or a line that cannot be read.
    """
    try:
        file = path.open(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path.name}: the file cannot be read ({error.strerror}); choose another") from error
    with file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _read_labelled_row(read_row(line, path.name, number), path.name, number)
        except UnicodeDecodeError as error:
            raise UserError(f"{path.name}: the file is not UTF-8 text; save it as UTF-8 JSONL") from error


def _read_labelled_row(row: Mapping[str, Any], name: str, number: int) -> tuple[Labelled, bool]:
    label, level = row.get("label"), row.get("level")
    turns = tuple(read_message(row, name, number))
    identity = str(row.get("id", number))
    concept = str(row.get("concept") or "")
    for word in (level, label):
        if word is not None and word not in _DEFERRED | _ANSWERED | {"caution"}:
            raise UserError(
                f"{name}:{number}: level: there is no such level (got {word!r}); "
                "use answer, caution, defer, emergency or crisis"
            )
    if label == "caution" or (label is None and level == "caution"):
        return Labelled(identity, turns, None, concept, number), True
    if level in _DEFERRED:
        return Labelled(identity, turns, Level.parse(str(level)), concept, number), True
    if label in _DEFERRED:
        return Labelled(identity, turns, Level.parse(str(label)), concept, number), True
    labelled = label is not None or level is not None
    return Labelled(identity, turns, Level.ANSWER, concept, number), labelled


def read_row(line: str, name: str, number: int) -> dict[str, Any]:
    """One line as an object.

    Raises: UserError with the line's number.
    """
    if len(line) > MAX_LINE_CHARS:
        raise UserError(
            f"{name}:{number}: the line is too long (got {len(line)} characters); split the message"
        )
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}:{number}: this is not JSON ({error}); write one object a line") from error
    if not isinstance(row, dict):
        raise UserError(
            f"{name}:{number}: this is not an object (got {type(row).__name__}); write one a line"
        )
    return row


def read_message(row: Mapping[str, Any], name: str, number: int) -> list[Mapping[str, Any]]:
    """The turns of a row.

    Raises: UserError with the line's number for a row without a message.
    """
    turns = row.get("turns")
    if turns is None and isinstance(row.get("text"), str):
        return [{"role": "user", "content": row["text"]}]
    whole = isinstance(turns, list) and turns and all(_is_turn(turn) for turn in turns)
    if not whole:
        raise UserError(
            f"{name}:{number}: there is no message; write `text`, or `turns` with role and content"
        )
    return list(turns or ())


def _is_turn(turn: object) -> bool:
    return (
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
    )
