"""The Safety tab's verbs: try a message, screen a file, score a labelled one, read and verify the audit."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.safety.assessment import assess
from medlora.safety.audit import AuditLog, VerifyReport
from medlora.safety.decision import Decision
from medlora.safety.policy import Policy
from medlora.workspace import Workspace

LABELS = ("defer", "caution", "answer")
_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval (Wilson). Source: Wilson 1927, score interval."""

    hits: int
    total: int

    @property
    def share(self) -> float | None:
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), None without a case."""
        if not self.total:
            return None
        n, p, z = self.total, self.hits / self.total, _Z_95
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_dict(self) -> dict[str, Any]:
        return {"hits": self.hits, "total": self.total, "share": self.share, "interval": self.interval}


@dataclass(frozen=True)
class Miss:
    """A labelled message that was judged otherwise; `text` is the user's own, shown to them alone."""

    id: str
    label: str
    level: str
    text: str


@dataclass(frozen=True)
class Score:
    """How a labelled file was judged.

    recall: messages labelled `defer` that did not reach the model. false_deferral: messages labelled
    `answer` that were turned away. alarm_rate: unlabelled messages turned away. `caution` rows may go
    either way. latency_ms: p50, p95 and p99 of one assessment.
    """

    recall: Rate
    false_deferral: Rate
    alarm_rate: Rate
    by_level: dict[str, Rate]
    misses: tuple[Miss, ...]
    latency_ms: dict[str, float]
    messages_per_second: float
    catalogue_version: str


def make_policy(settings: Mapping[str, Any] | None = None) -> Policy:
    """The policy of a configuration's `safety` section, or the defaults.

    Raises: UserError for edited messages that cannot be used.
    """
    return Policy.from_settings(settings or {})


def try_message(
    ws: Workspace, message: str | Sequence[Mapping[str, str]], settings: Mapping[str, Any] | None = None
) -> Decision:
    """The decision on a message or a conversation; nothing is recorded and no model is asked."""
    turns = [{"role": "user", "content": message}] if isinstance(message, str) else list(message)
    return assess(turns, make_policy(settings))


def screen_lines(lines: Iterable[str], settings: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """One decision for each JSONL line `{"id", "text"}` or `{"id", "turns"}`, in the same order.

    Raises: UserError that names the line.
    """
    policy = make_policy(settings)
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _read_row(line, number)
            yield {"id": row.get("id", number), **assess(_turns(row, number), policy).as_dict()}


def _read_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"line {number}: it is not JSON ({type(error).__name__}); mend it") from None
    if not isinstance(row, dict):
        raise UserError(f'line {number}: it is not an object; write {{"id": …, "text": …}}')
    return row


def _turns(row: Mapping[str, Any], number: int) -> list[dict[str, str]]:
    if isinstance(row.get("text"), str):
        return [{"role": "user", "content": row["text"]}]
    turns = row.get("turns")
    if isinstance(turns, list) and turns and all(_is_turn(turn) for turn in turns):
        return turns
    raise UserError(
        f'line {number}: it has neither "text" nor "turns" with role and content; add one of them'
    )


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("role", "content"))


def score_file(path: Path, settings: Mapping[str, Any] | None = None) -> Score:
    """How the rows of a labelled file are judged; rows without a label count to the alarm rate.

    Raises: UserError when the file cannot be read or a row has an unknown label.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: it cannot be read as UTF-8 text ({type(error).__name__})") from None
    policy = make_policy(settings)
    judged: list[tuple[dict[str, Any], Decision]] = []
    spent: list[float] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _read_row(line, number)
        if row.get("label", "answer") not in LABELS:
            known = ", ".join(LABELS)
            raise UserError(f"line {number}: label: it is unknown (got {row['label']!r}); use one of {known}")
        began = time.perf_counter()
        decision = assess(_turns(row, number), policy)
        spent.append(time.perf_counter() - began)
        judged.append((row, decision))
    if not judged:
        raise UserError(f"{path.name}: it has no row; give it one labelled message a line")
    return _score(judged, sorted(spent))


def _score(judged: list[tuple[dict[str, Any], Decision]], spent: list[float]) -> Score:
    away = [(row, decision, not decision.calls_model) for row, decision in judged]
    wanted = [(row, gone) for row, _, gone in away if row.get("label") == "defer"]
    benign = [gone for row, _, gone in away if row.get("label") == "answer"]
    unlabelled = [gone for row, _, gone in away if "label" not in row]
    levels: dict[str, list[bool]] = {}
    for row, gone in wanted:
        levels.setdefault(str(row.get("level") or "defer"), []).append(gone)
    misses = tuple(
        Miss(str(row.get("id", "")), str(row.get("label", "")), decision.level.label, _text(row))
        for row, decision, gone in away
        if (row.get("label") == "defer" and not gone) or (row.get("label", "answer") == "answer" and gone)
    )
    return Score(
        recall=_rate([gone for _, gone in wanted]),
        false_deferral=_rate(benign),
        alarm_rate=_rate(unlabelled),
        by_level={name: _rate(gone) for name, gone in sorted(levels.items())},
        misses=misses,
        latency_ms={
            f"p{share}": round(1000 * spent[min(len(spent) - 1, len(spent) * share // 100)], 3)
            for share in (50, 95, 99)
        },
        messages_per_second=round(len(spent) / sum(spent), 1) if sum(spent) else 0.0,
        catalogue_version=judged[0][1].catalogue_version,
    )


def _rate(hits: Sequence[bool]) -> Rate:
    return Rate(sum(hits), len(hits))


def _text(row: Mapping[str, Any]) -> str:
    return str(row["text"]) if "text" in row else str(row["turns"][-1]["content"])


def verify_audit(ws: Workspace) -> VerifyReport:
    """Whether the audit log is whole."""
    return AuditLog(ws.audit).verify()


def audit_entries(ws: Workspace, *, limit: int = 100, level: str | None = None) -> list[dict[str, Any]]:
    """The newest entries, the newest first, those of one level if asked."""
    entries = [
        entry for entry in AuditLog(ws.audit).entries() if level is None or entry.get("level") == level
    ]
    return entries[::-1][:limit]
