"""How a checked dataset looks: figures, problems, duplicates, personal data, lengths, one record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from medlora.ui import present
from medlora.ui.chart import histogram
from medlora.ui.present import count, number, text

if TYPE_CHECKING:
    from medlora.dataset.check import CheckReport
    from medlora.dataset.lengths import TokenStats
    from medlora.dataset.rows import RowProblem

SHOWN_ROWS = 100
_CAPITALS = {word.lower(): word for word in ("JSON", "MRN", "URL", "IP", "UTF-8")}


def kind_words(kind: str) -> str:
    """A kind of problem or of personal data as people write it."""
    return " ".join(_CAPITALS.get(word, word) for word in kind.split("_"))


def count_kinds(kinds: Iterable[str]) -> str:
    """The commonest kinds in words: `3 empty answer, 1 bad json`."""
    amounts: dict[str, int] = {}
    for kind in kinds:
        amounts[kind] = amounts.get(kind, 0) + 1
    ordered = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{amount} {kind_words(kind)}" for kind, amount in ordered)


def show_figures(report: CheckReport) -> str:
    """The large numbers of a check."""
    usable = f"{100 * report.usable / report.rows:.0f} % of rows" if report.rows else ""
    figures: list[tuple[str, ...]] = [
        ("Rows", number(report.rows), report.shape or "shape not recognised"),
        ("Usable", number(report.usable), usable),
        ("Problems", number(len(report.errors)), count_kinds(item.kind for item in report.errors)),
        ("Duplicates", number(len(report.duplicates))),
    ]
    if report.filtered:
        figures.append(("Left out", number(len(report.filtered)), "by the length settings"))
    notes = "".join(present.notice("info", note) for note in report.notices)
    return present.big_numbers(figures) + notes


def _capped(rows: Sequence[Sequence[object]], headers: Sequence[str], noun: str) -> str:
    shown = rows[:SHOWN_ROWS]
    caption = count(len(rows), noun)
    if len(rows) > len(shown):
        caption = f"The first {len(shown)} of {caption}. The download has them all."
    return present.table(headers, shown, caption=caption)


def show_problems(report: CheckReport) -> str:
    """Every problem with its line, what is left out, duplicates, what looks like personal data (masked)."""
    parts, unit = [], report.unit.capitalize()
    if report.errors:
        parts.append(present.heading("Problems", f"These {report.unit}s cannot be used as they are."))
        parts.append(_capped(_rows(report.errors), (unit, "Kind", "What is wrong"), "problem"))
    if report.filtered:
        parts.append(present.heading("Left out by the length settings", "Change them in the Configure tab."))
        parts.append(_capped(_rows(report.filtered), (unit, "Kind", "Why"), "row"))
    if report.duplicates:
        doubled = [
            (item.line, item.of, "almost the same" if item.near else "the same") for item in report.duplicates
        ]
        parts.append(present.heading("Duplicates", "Exact copies are used once; near copies stay."))
        parts.append(_capped(doubled, (unit, f"Repeats {report.unit}", "How"), "duplicate"))
    if report.phi:
        found = [(item.line, item.field, kind_words(item.kind), item.masked) for item in report.phi]
        title = f"{count(report.phi_rows, 'row')} may identify a person"
        parts.append(present.heading(title, "Found by pattern, so look at them yourself; masked here."))
        parts.append(_capped(found, (unit, "Field", "Kind", "Masked sample"), "finding"))
    return "".join(f'<section class="ml-part">{part}</section>' for part in _pairs(parts))


def _rows(problems: Sequence[RowProblem]) -> list[tuple[object, ...]]:
    return [(item.line, kind_words(item.kind), item.message) for item in problems]


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
        longer = count(tokens.truncated, "record is", "records are")
        note += f" {longer} longer than {number(limit)} and would be cut."
    if tokens.estimated:
        note += " Estimated from the number of words, since the model is not on this machine yet."
    bins = [(float(low), float(high), int(amount)) for low, high, amount in tokens.histogram]
    drawn = histogram("How long the records are", bins, limit=limit, note=note)
    return figures + drawn


def show_trained(segments: Iterable[tuple[str, bool]], notices: Sequence[str] = ()) -> str:
    """One record as the model sees it; what it learns from is marked."""
    notes = "".join(present.notice("info", note) for note in notices)
    body = "".join(f"<mark>{text(part)}</mark>" if trained else text(part) for part, trained in segments)
    return (
        '<p class="ml-legend">The whole text is read; only what is <mark>marked</mark> is learned.</p>'
        f'<pre class="ml-text">{body}</pre>{notes}'
    )
