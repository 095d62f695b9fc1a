"""How long data is kept: what nobody used for longer is told, and goes when somebody says so.

Covered: datasets, counted from their import or the last run that read them; runs that are over, with
checkpoints, log and record; kept conversations; files of rejected rows, of kept tokens and uploads that were
left.
Not covered: adapters, which are never deleted by age; ratings; the audit, which has a time of its own; files
you gave by their path, downloads and backups.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from medlora.dataset import store
from medlora.dataset.kept_tokens import tokens_folder
from medlora.errors import NotFoundError, UserError
from medlora.runs import queue
from medlora.runs.live import observe
from medlora.runs.state import ACTIVE
from medlora.runs.store import list_runs, load_record, remove_run
from medlora.services import conversations, data, erasure
from medlora.workspace import RunPaths, Workspace, write_json

LONGEST_DAYS = 36_500
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Retention:
    """How many days data is kept after its last use; None: until somebody removes it."""

    days: int | None = None


@dataclass(frozen=True)
class Due:
    """Something that nobody used for longer than data is to be kept. last_used: seconds since the epoch.

    title: what people know it by; of a conversation nothing that was said, and its name is a question.
    """

    kind: Literal["dataset", "run", "conversation", "file"]
    name: str
    title: str
    last_used: float

    @property
    def days(self) -> int:
        """For how many whole days nobody used it."""
        return int((time.time() - self.last_used) // _DAY_S)


def load(ws: Workspace) -> Retention:
    """What was chosen; without a choice, until somebody removes it."""
    try:
        days = json.loads(ws.data_retention.read_text(encoding="utf-8"))["days"]
    except (OSError, ValueError, KeyError, TypeError):
        return Retention()
    return Retention(days if isinstance(days, int) and 1 <= days <= LONGEST_DAYS else None)


def save(ws: Workspace, days: int | None) -> Retention:
    """Keep data for so many days after its last use. Nothing is deleted by this.

    Raises: UserError for a number that is no count of days.
    """
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise UserError(f"days: data can be kept for 1 to {LONGEST_DAYS} days (got {days}); change it")
    chosen = Retention(days)
    write_json(ws.data_retention, {"days": days})
    return chosen


def find_due(ws: Workspace, older_than_days: float | None = None) -> list[Due]:
    """What is older than it is to be kept, the oldest first; nothing where data is kept until removed.

    Raises: UserError for a negative age.
    """
    days = load(ws).days if older_than_days is None else older_than_days
    if days is None:
        return []
    if not 0 <= days <= LONGEST_DAYS:
        raise UserError(f"days: the age must lie between 0 and {LONGEST_DAYS} (got {days:g}); change it")
    border = time.time() - days * _DAY_S
    runs = [(run, load_record(run).get("dataset"), _last_moment(run)) for run in list_runs(ws)]
    found = [
        Due("run", run.run_id, run.run_id, moment)
        for run, _, moment in runs
        if moment < border and observe(run).status not in ACTIVE
    ]
    for card in store.list_cards(ws):
        used = [moment for _, dataset, moment in runs if _reads(dataset, card)]
        last = max([_seconds(card.created), *used])
        going = any(_reads(dataset, card) and observe(run).status in ACTIVE for run, dataset, _ in runs)
        if last < border and not going:
            found.append(Due("dataset", card.name, card.title, last))
    for kept in conversations.list_kept(ws, None):
        if (moment := _seconds(kept.changed)) < border:
            title = f"conversation of {kept.owner}" if kept.owner else "conversation"
            found.append(Due("conversation", kept.conversation_id, title, moment))
    found += [Due("file", name, title, moment) for name, title, moment in _left_files(ws) if moment < border]
    return sorted(found, key=lambda due: (due.last_used, due.name))


def purge(ws: Workspace, older_than_days: float | None = None) -> list[Due]:
    """Delete what is due, for good; returns what went. What came into use in the meantime stays."""
    gone = []
    with queue.lock_queue(ws):
        for due in find_due(ws, older_than_days):
            try:
                _delete(ws, due)
            except (NotFoundError, FileNotFoundError):
                continue  # somebody else removed it in this moment
            gone.append(due)
    erasure.forget_unread(ws)
    return gone


def _delete(ws: Workspace, due: Due) -> None:
    if due.kind == "run":
        remove_run(ws.run(due.name))
    elif due.kind == "dataset":
        data.remove_dataset(ws, due.name)
    elif due.kind == "conversation":
        conversations.delete(ws, None, [due.name])
    else:
        (ws.private / due.name).unlink()


def _reads(dataset: Any, card: store.DatasetCard) -> bool:
    return isinstance(dataset, dict) and (
        dataset.get("name") == card.name or dataset.get("sha256") == card.sha256
    )


def _last_moment(run: RunPaths) -> float:
    """When a run ended; for one that never told, when its last event was written."""
    state = observe(run)
    if state.ended_at:
        return state.ended_at
    try:
        return run.events.stat().st_mtime
    except OSError:
        return run.root.stat().st_mtime


def _seconds(created: str) -> float:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return time.time()


def _left_files(ws: Workspace) -> list[tuple[str, str, float]]:
    """Rejects, kept tokens and uploads still there: path in the private folder, title, last change or use."""
    found = []
    for folder in (ws.private / "rejects", tokens_folder(ws), ws.uploads):
        for path in folder.rglob("*") if folder.is_dir() else ():
            with suppress(FileNotFoundError):  # an upload may be taken in at this moment
                if path.is_file():
                    title = "tokenised rows" if folder == tokens_folder(ws) else path.name
                    found.append((str(path.relative_to(ws.private)), title, path.stat().st_mtime))
    return found
