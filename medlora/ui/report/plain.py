"""The report as Markdown: the same sections, the curve in words."""

from __future__ import annotations

from collections.abc import Iterator

from medlora.ui import present
from medlora.ui.chart import summarise
from medlora.ui.report.content import Report, Section, Table


def render_markdown(report: Report) -> str:
    """The whole document."""
    parts = [f"# {_inert(report.name)}", _inert(report.lead), f"**{_inert(report.state)}**"]
    parts.append("\n".join(f"- {_inert(what)}: **{_inert(value)}**" for what, value in report.big))
    for section in report.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {_inert(section.title)}"
    yield from map(_inert, section.sentences)
    if section.curves:
        yield "Loss. " + " ".join(_inert(summarise(curve)) for curve in section.curves if curve.points)
    for table in section.tables:
        yield _table(table)
        if table.caption:
            yield _inert(table.caption)


def _table(table: Table) -> str:
    width = max(map(len, (table.head, *table.rows)))
    head = table.head or ("",) * width
    lines = [_line(head), "|" + "---|" * width, *map(_line, table.rows)]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_inert, cells)) + " |"


def _inert(value: str) -> str:
    """Text for Markdown: no table broken, no tags, pictures, links, marks or headings."""
    plain = present.markdown(" ".join(value.split()))
    for mark, code in (("|", "&#124;"), ("*", "&#42;"), ("`", "&#96;"), ("_", "\\_")):
        plain = plain.replace(mark, code)
    return plain
