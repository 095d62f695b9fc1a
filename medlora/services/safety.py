"""The verbs of the Safety tab and of `medlora safety`: try, screen, explain, score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medlora import safety as safety_package
from medlora.errors import UserError
from medlora.safety import Decision, Policy, assess
from medlora.safety.catalogue import load_catalogue
from medlora.safety.score import Score, score_messages
from medlora.services.labelled import labelled_path, read_labelled, read_message, read_row
from medlora.workspace import Workspace

__all__ = [
    "describe_cover",
    "explain",
    "labelled_path",
    "read_labelled",
    "score_file",
    "screen_lines",
    "try_message",
]


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
) -> Iterator[dict[str, Any] | UserError]:
    """One result per JSON line, in order; for a line that is no message, the error that says so.

    Why it goes on: one bad line must not leave the messages after it unjudged.
    """
    policy = Policy.from_settings(settings or {})
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = read_row(line, name, number)
            message = read_message(row, name, number)
        except UserError as error:
            yield error
            continue
        yield {"id": row.get("id"), **assess(message, policy).as_dict()}


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


def score_file(
    ws: Workspace,
    path: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    only: Mapping[str, str] | None = None,
    slips: int = 0,
) -> Score:
    """The figures over a labelled JSONL file.

    Each line holds `text` or `turns`, and `label` (answer, caution, defer) or `level` (answer to crisis).
    Lines labelled caution may be answered or deferred. Lines without a label count for the alarm rate.
    only: fields a line must have. slips: typing slips to put into each message.
    Raises: UserError for a file or a line that cannot be read.
    """
    del ws
    return score_messages(read_labelled(path, only=only, slips=slips), Policy.from_settings(settings or {}))
