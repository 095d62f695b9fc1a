"""The audit's verbs: read, filter, verify, purge, keep for so many days, set a damaged log aside."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.safety import Action, AuditLog, Level, VerifyReport
from medlora.workspace import Workspace, write_json

LONGEST_RETENTION_DAYS = 36_500
_LOG = logging.getLogger(__name__)
_LEVELS = tuple(level.label for level in Level)
_ACTIONS = tuple(action.value for action in Action)


@dataclass(frozen=True)
class AuditFilter:
    """Which entries are wanted; None wants them all. Days are those of this machine's clock."""

    level: str | None = None
    action: str | None = None
    adapter: str | None = None
    chat: str | None = None
    concept: str | None = None
    since: date | None = None
    until: date | None = None

    @classmethod
    def read(cls, **words: str | None) -> AuditFilter:
        """The filter that these words ask for; empty ones count for nothing.

        Raises: UserError for a word that no entry can have.
        """
        given = {key: (word or "").strip() or None for key, word in words.items()}
        for key, known in (("level", _LEVELS), ("action", _ACTIONS)):
            if given.get(key) is not None and given[key] not in known:
                raise UserError(
                    f"audit: {key}: there is none of that name (got {given[key]}); use {', '.join(known)}"
                )
        days = {key: _read_day(key, given.pop(key, None)) for key in ("since", "until")}
        return cls(**given, **days)  # type: ignore[arg-type]

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry is one of those wanted."""
        for key in ("level", "action", "chat"):
            wanted = getattr(self, key)
            if wanted is not None and entry.get(key) != wanted:
                return False
        if self.adapter is not None and self.adapter not in (entry.get("adapter"), entry.get("base_model")):
            return False
        if self.concept is not None and all(
            found.get("concept") != self.concept for found in entry.get("findings", ())
        ):
            return False
        return self._in_time(float(entry.get("time", 0)))

    def _in_time(self, moment: float) -> bool:
        if self.since is not None and moment < datetime.combine(self.since, datetime.min.time()).timestamp():
            return False
        if self.until is None:
            return True
        return moment < datetime.combine(self.until + timedelta(days=1), datetime.min.time()).timestamp()


@dataclass(frozen=True)
class AuditPage:
    """The newest entries that fit, the newest first, and how many there are in all."""

    entries: tuple[dict[str, Any], ...]
    fitting: int
    total: int
    levels: Mapping[str, int]


@dataclass(frozen=True)
class Retention:
    """How long entries are kept; None keeps them."""

    days: int | None = None


def _read_day(key: str, word: str | None) -> date | None:
    if word is None:
        return None
    try:
        return date.fromisoformat(word[:10])
    except ValueError:
        raise UserError(f"audit: {key}: this is no day (got {word[:40]}); write it as 2026-11-25") from None


def read_audit(ws: Workspace, wanted: AuditFilter | None = None, *, limit: int = 200) -> AuditPage:
    """The newest entries that fit every part of a filter."""
    kept: deque[dict[str, Any]] = deque(maxlen=limit)
    levels: Counter[str] = Counter()
    fitting = total = 0
    for entry in AuditLog(ws.audit).entries():
        total += 1
        if (wanted or AuditFilter()).fits(entry):
            fitting += 1
            kept.append(entry)
            if entry.get("event") == "question":
                levels[str(entry.get("level"))] += 1
    return AuditPage(tuple(reversed(kept)), fitting, total, dict(levels))


def list_speakers(ws: Workspace) -> list[str]:
    """Every adapter (or base model) that the audit knows."""
    entries = AuditLog(ws.audit).entries()
    return sorted(
        {str(name) for entry in entries if (name := entry.get("adapter") or entry.get("base_model"))}
    )


def export_audit(ws: Workspace, path: Path, wanted: AuditFilter | None = None) -> int:
    """Write the entries that fit, as they are, oldest first; returns how many."""
    written = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for entry in AuditLog(ws.audit).entries():
            if (wanted or AuditFilter()).fits(entry):
                file.write(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n")
                written += 1
    return written


def verify_audit(ws: Workspace, seal: str = "") -> VerifyReport:
    """Whether the audit log is whole; with a seal noted earlier, also that its end is still in it."""
    return AuditLog(ws.audit).verify(seal)


def set_audit_aside(ws: Workspace) -> str:
    """Keep a damaged log under another name and begin a new one; returns that name.

    Raises: UserError for a log that is whole.
    """
    return AuditLog(ws.audit).set_aside().name


# Retention


def count_older(ws: Workspace, older_than_days: float) -> int:
    """How many entries a purge would remove."""
    border = time.time() - _check_age(older_than_days) * 86_400
    count = 0
    for entry in AuditLog(ws.audit).entries():
        if entry.get("event") == "purge_marker":
            continue
        if float(entry.get("time", 0)) >= border:
            break
        count += 1
    return count


def purge_audit(ws: Workspace, older_than_days: float) -> int:
    """Remove old entries; the rest stays provable. Returns how many went.

    Raises: UserError for a log that does not verify, or for a negative age.
    """
    return AuditLog(ws.audit).purge(_check_age(older_than_days))


def _check_age(days: float) -> float:
    if not 0 <= days <= LONGEST_RETENTION_DAYS:
        raise UserError(
            f"days: the age must lie between 0 and {LONGEST_RETENTION_DAYS} (got {days:g}); change it"
        )
    return days


def load_retention(ws: Workspace) -> Retention:
    """How long entries are kept; without a choice, for ever."""
    try:
        days = json.loads(ws.audit_retention.read_text(encoding="utf-8"))["days"]
    except (OSError, ValueError, KeyError, TypeError):
        return Retention()
    return Retention(days if isinstance(days, int) and 1 <= days <= LONGEST_RETENTION_DAYS else None)


def save_retention(ws: Workspace, days: int | None) -> Retention:
    """Keep entries for so many days from now on, or for ever; the first purge follows at once.

    Raises: UserError for a number that is no count of days.
    """
    if days is not None and not 1 <= days <= LONGEST_RETENTION_DAYS:
        raise UserError(
            f"days: entries can be kept for 1 to {LONGEST_RETENTION_DAYS} days (got {days}); change it"
        )
    chosen = Retention(days)
    write_json(ws.audit_retention, asdict(chosen))
    apply_retention(ws)
    return chosen


def apply_retention(ws: Workspace) -> int:
    """Purge what is older than it is to be kept; returns how many entries went.

    Raises: UserError for a log that does not verify: nothing of a damaged log is removed.
    """
    days = load_retention(ws).days
    return 0 if days is None else AuditLog(ws.audit).purge(days)


class DailyPurge:
    """Applies the retention once a day while the app runs; looking more often costs nothing."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._next_s = 0.0

    def look(self) -> None:
        """Purge if a day has passed. A damaged log is left as it is, and the log of the app says so."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 86_400
        try:
            apply_retention(self._ws)
        except UserError as error:
            _LOG.warning("%s", error)
