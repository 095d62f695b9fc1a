"""The verbs of the Safety tab and of `medlora safety`: try, screen, explain, score, compare, audit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora import safety as safety_package
from medlora.errors import UserError
from medlora.safety import AuditLog, Decision, Level, Policy, VerifyReport, assess
from medlora.safety.catalogue import load_catalogue
from medlora.safety.score import Labelled, Score, score_messages
from medlora.workspace import Workspace

MAX_LINE_CHARS = 2_000_000
_DEFERRED = {"defer", "emergency", "crisis"}
_ANSWERED = {"answer", "none", "benign", "safe"}


@dataclass(frozen=True)
class Change:
    """A message whose decision differs between two settings."""

    id: str
    text: str
    before: str
    after: str
    expected: str


@dataclass(frozen=True)
class Comparison:
    """What other keywords would change: how many messages, which, and the figures before and after."""

    messages: int
    changes: tuple[Change, ...]
    before: Score
    after: Score


def try_message(
    ws: Workspace, message: str | Sequence[Mapping[str, Any]], settings: Mapping[str, Any] | None = None
) -> Decision:
    """The decision on a text or on whole turns; its findings carry spans to highlight."""
    del ws
    turns = [{"role": "user", "content": message}] if isinstance(message, str) else list(message)
    return assess(turns, Policy.from_settings(settings or {}))


def describe_cover() -> str:
    """What the layer covers and what it does not, in its own words."""
    return (safety_package.__doc__ or "").strip()


def screen_lines(
    lines: Iterable[str], settings: Mapping[str, Any] | None = None, *, name: str = "input"
) -> Iterator[dict[str, Any]]:
    """One result per JSON line, in order.

    Raises: UserError with the line's number for a line that is no message.
    """
    policy = Policy.from_settings(settings or {})
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _read_row(line, name, number)
        decision = assess(_read_turns(row, name, number), policy)
        yield {"id": row.get("id"), **decision.as_dict()}


def explain(text: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The record the audit keeps of a message, with the matched text and what was set aside."""
    decision = assess([{"role": "user", "content": text}], Policy.from_settings(settings or {}))
    return {
        **decision.as_dict(),
        "message": decision.message,
        "register": decision.register,
        "set_aside": [finding.as_dict() for finding in decision.dropped],
        "signs": {finding.concept: finding.sign for finding in decision.findings + decision.dropped},
        "catalogue_version": decision.catalogue_version,
        "catalogue_sha256": load_catalogue().sha256,
        "latency_ms": round(decision.latency_ms, 3),
    }


def score_file(ws: Workspace, path: Path, settings: Mapping[str, Any] | None = None) -> Score:
    """The figures over a labelled JSONL file.

    Each line holds `text` or `turns`, and `label` (answer, caution, defer) or `level` (answer to crisis).
    Lines labelled caution may be answered or deferred. Lines without a label count for the alarm rate.
    Raises: UserError for a file or a line that cannot be read.
    """
    del ws
    return score_messages(read_labelled(path), Policy.from_settings(settings or {}))


def labelled_path() -> Path:
    """The labelled set that is shipped: for regression and to start from, not evidence."""
    return Path(str(safety_package.__file__)).parent / "labelled" / "messages.jsonl"


def what_would_change(
    ws: Workspace,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    path: Path | None = None,
) -> Comparison:
    """What other settings would change on a labelled file, the shipped one by default."""
    del ws
    messages = list(read_labelled(path or labelled_path()))
    old, new = Policy.from_settings(before), Policy.from_settings(after)
    changes = []
    for message, _ in messages:
        first, second = assess(message.turns, old).level, assess(message.turns, new).level
        if first is not second:
            expected = message.expected.label if message.expected is not None else ""
            changes.append(Change(message.id, message.text, first.label, second.label, expected))
    return Comparison(
        len(messages), tuple(changes), score_messages(messages, old), score_messages(messages, new)
    )


def read_labelled(path: Path) -> Iterator[tuple[Labelled, bool]]:
    """Each message of a labelled file, and whether it carries a label."""
    try:
        file = path.open(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path.name}: the file cannot be read ({error.strerror}); choose another") from error
    with file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _read_labelled_row(_read_row(line, path.name, number), path.name, number)
        except UnicodeDecodeError as error:
            raise UserError(f"{path.name}: the file is not UTF-8 text; save it as UTF-8 JSONL") from error


def _read_labelled_row(row: Mapping[str, Any], name: str, number: int) -> tuple[Labelled, bool]:
    label, level = row.get("label"), row.get("level")
    turns = tuple(_read_turns(row, name, number))
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
    if label == "defer":
        return Labelled(identity, turns, Level.DEFER, concept, number), True
    labelled = label is not None or level is not None
    return Labelled(identity, turns, Level.ANSWER, concept, number), labelled


def _read_row(line: str, name: str, number: int) -> dict[str, Any]:
    if len(line) > MAX_LINE_CHARS:
        raise UserError(
            f"{name}:{number}: the line is too long (got {len(line)} characters); split the message"
        )
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{name}:{number}: this is not JSON ({error}); write one object a line") from error
    if not isinstance(row, dict):
        raise UserError(
            f"{name}:{number}: this is not an object (got {type(row).__name__}); write one a line"
        )
    return row


def _read_turns(row: Mapping[str, Any], name: str, number: int) -> list[Mapping[str, Any]]:
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


def verify_audit(ws: Workspace) -> VerifyReport:
    """Whether the audit log is whole."""
    return AuditLog(ws.audit).verify()


def audit_entries(
    ws: Workspace,
    *,
    limit: int = 200,
    level: str | None = None,
    action: str | None = None,
    chat: str | None = None,
    concept: str | None = None,
) -> list[dict[str, Any]]:
    """The newest entries that fit every filter, the newest first."""
    wanted = {"level": level, "action": action, "chat": chat}
    fitting = [
        entry
        for entry in AuditLog(ws.audit).entries()
        if all(value is None or entry.get(key) == value for key, value in wanted.items())
        and (concept is None or any(found.get("concept") == concept for found in entry.get("findings", ())))
    ]
    return fitting[::-1][:limit]


def purge_audit(ws: Workspace, older_than_days: float) -> int:
    """Remove old entries; the rest stays provable. Returns how many went.

    Raises: UserError for a log that does not verify, or for a negative age.
    """
    if older_than_days < 0:
        raise UserError(f"days: the age cannot be negative (got {older_than_days}); use 0 or more")
    return AuditLog(ws.audit).purge(older_than_days)
