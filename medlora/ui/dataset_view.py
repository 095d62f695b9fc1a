"""How a checked dataset looks: figures, problems, duplicates, personal data, lengths, one record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from medlora.ui import present
from medlora.ui.chart import histogram
from medlora.ui.present import count, number, text

if TYPE_CHECKING:
    from medlora.dataset.check import CheckReport, TokenStats

SHOWN_ROWS = 100
ROLE_NAMES = {"system": "System prompt", "user": "Question", "assistant": "Answer"}


def count_kinds(kinds: Iterable[str]) -> str:
    """The commonest kinds in words: `3 empty answer, 1 bad json`."""
    amounts: dict[str, int] = {}
    for kind in kinds:
        amounts[kind] = amounts.get(kind, 0) + 1
    ordered = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{amount} {kind.replace('_', ' ')}" for kind, amount in ordered)


def show_figures(report: CheckReport) -> str:
    """The large numbers of a check."""
    usable = f"{100 * report.valid / report.rows:.0f} % of rows" if report.rows else ""
    return present.big_numbers(
        [
            ("Rows", number(report.rows), report.shape or "shape not recognised"),
            ("Usable", number(report.valid), usable),
            ("Problems", number(len(report.problems)), count_kinds(item.kind for item in report.problems)),
            ("Duplicates", number(len(report.duplicates))),
        ]
    )


def _capped(rows: Sequence[Sequence[object]], headers: Sequence[str], noun: str) -> str:
    shown = rows[:SHOWN_ROWS]
    caption = count(len(rows), noun)
    if len(rows) > len(shown):
        caption = f"The first {len(shown)} of {caption}. The download has them all."
    return present.table(headers, shown, caption=caption)


def show_problems(report: CheckReport) -> str:
    """Every problem with its line, then duplicates, then what looks like personal data (masked)."""
    parts = []
    if report.problems:
        rows = [(item.line, item.kind.replace("_", " "), item.message) for item in report.problems]
        parts.append(present.heading("Problems", "These lines cannot be used as they are."))
        parts.append(_capped(rows, ("Line", "Kind", "What is wrong"), "problem"))
    if report.duplicates:
        doubled = [
            (item.line, item.of, "almost the same" if item.near else "the same") for item in report.duplicates
        ]
        parts.append(
            present.heading(
                "Duplicates", "The same lines are used once; those that are almost the same stay."
            )
        )
        parts.append(_capped(doubled, ("Line", "Repeats line", "How"), "duplicate"))
    if report.phi:
        found = [(item.line, item.field, item.kind, item.masked) for item in report.phi]
        parts.append(
            present.heading(
                "This may identify a person", "Found by pattern, so look at them yourself; masked here."
            )
        )
        parts.append(_capped(found, ("Line", "Field", "Kind", "Masked sample"), "finding"))
    return "".join(f'<section class="ml-part">{part}</section>' for part in _pairs(parts))


def _pairs(parts: Sequence[str]) -> list[str]:
    return [first + second for first, second in zip(parts[::2], parts[1::2], strict=True)]


def show_lengths(tokens: TokenStats | None, limit: int | None) -> str:
    """Token lengths: p50, p95, longest, truncated; and their histogram."""
    if tokens is None:
        return present.notice(
            "info",
            "Token lengths are not known yet",
            "They are counted with the model's own tokenizer once the model is on this machine.",
        )
    cut = f"cut at {number(limit)}" if limit else ""
    figures = present.big_numbers(
        [
            ("Half have at most", number(tokens.p50), "tokens"),
            ("95 % have at most", number(tokens.p95), "tokens"),
            ("Longest", number(tokens.max), "tokens"),
            ("Would be cut", number(tokens.truncated), cut),
        ]
    )
    note = (
        f"Half of the records have at most {number(tokens.p50)} tokens, 95 % at most {number(tokens.p95)}, "
        f"the longest {number(tokens.max)}."
    )
    if tokens.truncated:
        note += f" {count(tokens.truncated, 'record is', 'records are')} longer than {number(limit)} and would be cut."
    bins = [(float(low), float(high), int(amount)) for low, high, amount in tokens.histogram]
    drawn = histogram("How long the records are", bins, limit=limit, note=note)
    return figures + drawn


def show_trained(segments: Iterable[tuple[str, bool]]) -> str:
    """One record as the model sees it; what it learns from is marked."""
    body = "".join(f"<mark>{text(part)}</mark>" if trained else text(part) for part, trained in segments)
    return (
        '<p class="ml-legend">The whole text is read; only what is <mark>marked</mark> is learned.</p>'
        f'<pre class="ml-text">{body}</pre>'
    )
