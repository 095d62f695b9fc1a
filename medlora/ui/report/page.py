"""The report as one page: nothing fetched, no scripts, every value escaped, made to be printed."""

from __future__ import annotations

from pathlib import Path

from medlora.ui import present
from medlora.ui.chart import line_chart
from medlora.ui.report.content import Report, Section, Table

STYLE_SHEET = Path(__file__).resolve().parent.parent / "assets" / "report.css"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_html(report: Report) -> str:
    """The whole document."""
    name = present.text(report.name)
    big = "".join(
        f"<div><dt>{present.text(what)}</dt><dd>{present.text(value)}</dd></div>"
        for what, value in report.big
    )
    state = "state" if report.signed else "state draft"
    parts = [
        f'<header><p class="lead">{present.text(report.lead)}</p><h1>{name}</h1>',
        f'<p class="{state}">{present.text(report.state)}</p><dl class="big">{big}</dl></header>',
        *map(_section, report.sections),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}: adapter report</title>\n"
        f"<style>\n{STYLE_SHEET.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    sentences = "".join(f"<p>{present.text(line)}</p>" for line in section.sentences)
    chart = line_chart("Loss", section.curves) if section.curves else ""
    tables = "".join(map(_table, section.tables))
    kind = ' class="long"' if section.long else ""
    return f"<section{kind}><h2>{present.text(section.title)}</h2>{sentences}{chart}{tables}</section>"


def _table(table: Table) -> str:
    caption = f"<caption>{present.text(table.caption)}</caption>" if table.caption else ""
    head = "".join(f'<th scope="col">{present.text(name)}</th>' for name in table.head)
    top = f"<thead><tr>{head}</tr></thead>" if table.head else ""
    kind = "figures" if table.head else "pairs"
    body = "".join(
        f'<tr><th scope="row">{present.text(first)}</th>'
        + "".join(f"<td>{present.text(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in table.rows
    )
    return f'<table class="{kind}">{caption}{top}<tbody>{body}</tbody></table>'
