"""Labelled messages: the shipped set, the user's own, and the traffic that other settings are tried on."""

from __future__ import annotations

import itertools
from pathlib import Path

from medlora import safety as safety_package
from medlora.dataset.lines import LineFile
from medlora.dataset.rows import Limits, read_rows
from medlora.dataset.store import source_path
from medlora.errors import UserError
from medlora.safety.labelled_rows import read_labelled, read_message, read_row
from medlora.workspace import Workspace, make_private, write_atomic

__all__ = [
    "MOST_LABELLED",
    "MOST_TRAFFIC",
    "forget_labelled",
    "keep_labelled",
    "labelled_path",
    "own_labelled",
    "read_labelled",
    "read_message",
    "read_row",
    "read_traffic",
]

MOST_LABELLED = 20_000
MOST_TRAFFIC = 2_000
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
