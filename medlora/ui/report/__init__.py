"""A report on one adapter, to print or to show a colleague: a page that fetches nothing, and Markdown.

Why no questions or answers: they come from a dataset, and a report is made to be passed on.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from medlora.services import report as facts_of
from medlora.services.report import ReportFacts
from medlora.ui.report.content import write_report
from medlora.ui.report.page import render_html
from medlora.ui.report.plain import render_markdown
from medlora.workspace import Workspace

__all__ = ["make_report", "render_html", "render_markdown"]


def make_report(ws: Workspace, name: str) -> tuple[Path, Path, ReportFacts]:
    """Write the report as things are now and keep it beside the adapter: its page, its Markdown, its facts.

    Raises: NotFoundError.
    """
    facts = facts_of.gather(ws, name)
    report = write_report(facts, datetime.now().astimezone())
    html, markdown = facts_of.save(ws, name, render_html(report), render_markdown(report))
    return html, markdown, facts
