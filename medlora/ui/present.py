"""Turning values into words and safe HTML.

Why: every text that came from a file, a model or a person passes through `text` (in our own HTML) or
`markdown` (where Gradio renders Markdown, toasts included). Then it can neither run a script nor fetch
a picture; the page's content policy is only the second wall.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Literal

Mark = Literal["ok", "notice", "problem", "wait"]
_MARKS: dict[Mark, tuple[str, str]] = {
    "ok": ("✓", "fine"),
    "notice": ("!", "note"),
    "problem": ("✕", "problem"),
    "wait": ("…", "waiting"),
}
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(9), 11, 12, *range(14, 32), 127)}
# Characters that turn the reading direction: a file name can hide its ending with them.
_CONTROL |= {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def text(value: object) -> str:
    """Any value as inert HTML text."""
    return html.escape(str(value).translate(_CONTROL), quote=True)


def markdown(value: object) -> str:
    """Any value as inert Markdown: formatting stays, tags, pictures and links become plain characters."""
    escaped = html.escape(str(value).translate(_CONTROL), quote=False)
    return escaped.replace("[", "&#91;").replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def number(value: float | None, digits: int = 3) -> str:
    """A number people read: `1,234`, `0.482`, `1.2e-05`; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) < 10 ** -(digits - 1):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")
    return f"{value:,.{digits}f}" if abs(value) < 100 else f"{value:,.0f}"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def gib(value: float | None) -> str:
    """A memory size in GiB."""
    return "–" if value is None else f"{value:.1f} GiB" if value < 100 else f"{value:.0f} GiB"


def duration(seconds: float | None) -> str:
    """`45 s`, `3 min`, `1 h 20 min`; a dash if it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def lead(title: str, sentence: str) -> str:
    """The head of a tab."""
    return f'<div class="ml-lead"><h2>{text(title)}</h2><p>{text(sentence)}</p></div>'


def heading(title: str, note: str = "") -> str:
    """The head of a card."""
    return f'<div class="ml-heading"><h3>{text(title)}</h3>{f"<p>{text(note)}</p>" if note else ""}</div>'


def empty(title: str, sentence: str) -> str:
    """What a place says while there is nothing in it: what to do next."""
    return f'<div class="ml-empty"><strong>{text(title)}</strong><p>{text(sentence)}</p></div>'


def big_numbers(figures: Iterable[tuple[str, ...]]) -> str:
    """The figures that matter, large, each with its label (and a small note)."""
    cells = []
    for figure in figures:
        label, value, note = (*figure, "")[:3]
        small = f"<small>{text(note)}</small>" if note else ""
        cells.append(f"<div><dt>{text(label)}</dt><dd>{text(value)}{small}</dd></div>")
    return f'<dl class="ml-figures">{"".join(cells)}</dl>'


def notice(kind: Literal["info", "amber", "red"], title: str, body: str = "") -> str:
    """A boxed message; its kind is said in words by the title, never by colour alone."""
    sign = {"info": "i", "amber": "!", "red": "!"}[kind]
    role = "alert" if kind == "red" else "status"
    inner = f"<p>{text(body)}</p>" if body else ""
    return (
        f'<div class="ml-notice ml-{kind}" role="{role}">'
        f'<span class="ml-sign" aria-hidden="true">{sign}</span>'
        f"<div><strong>{text(title)}</strong>{inner}</div></div>"
    )


def checklist(items: Iterable[tuple[str, Mark, str]]) -> str:
    """A list of checks: a mark, a name, a sentence."""
    rows = []
    for name, mark, sentence in items:
        sign, word = _MARKS[mark]
        rows.append(
            f'<li class="ml-{mark}"><span class="ml-mark" role="img" aria-label="{word}">{sign}</span>'
            f"<div><strong>{text(name)}</strong><p>{text(sentence)}</p></div></li>"
        )
    return f'<ul class="ml-checks">{"".join(rows)}</ul>'


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "", kind: str = "") -> str:
    """A plain table; every cell is escaped. `kind` is a style class."""
    head = "".join(f'<th scope="col">{text(header)}</th>' for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="ml-scroll"><table class="ml-table {kind}">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def progress(fraction: float | None, label: str) -> str:
    """A progress bar with its words; without a fraction the bar is hidden and the words stay."""
    bar = ""
    if fraction is not None:
        percent = round(100 * min(max(fraction, 0.0), 1.0))
        bar = (
            f'<div class="ml-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{percent}" aria-label="{text(label)}"><i style="width:{percent}%"></i></div>'
        )
    return f'<div class="ml-progress">{bar}<span>{text(label)}</span></div>'


def pills(words: Iterable[str]) -> str:
    """Small facts in a row."""
    return '<div class="ml-pills">' + "".join(f"<span>{text(word)}</span>" for word in words) + "</div>"
