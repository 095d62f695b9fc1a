"""What the Data tab shows of a checked file or dataset, and what may then be done with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.dataset.check import CheckReport
from medlora.dataset.store import clean_title
from medlora.services import data, data_preview, tables
from medlora.ui import dataset_view, present
from medlora.ui.dataset_removal import Shown
from medlora.ui.draft import draft_config
from medlora.workspace import Workspace

Update = Any
Progress = Callable[[float], None]
LONGEST_NAME = 48


def draw_report(workspace: Workspace, shown: Shown, report: CheckReport, settled: bool) -> list[Update]:
    """A checked file or dataset, and what may be done with it."""
    upload, bad = shown.is_upload, len(report.errors)
    config = draft_config(workspace)
    limit = config.data.max_seq_length if config is not None else None
    return [
        shown,
        gr.update(visible=True),
        present.heading(shown.title, _say_where(shown, report)),
        dataset_view.show_figures(report),
        gr.update(visible=upload and bad > 0 and report.usable > 0, label=_skip_label(bad), value=False),
        gr.update(visible=report.phi_rows > 0 and not settled, value=None),
        gr.update(visible=upload and report.usable > 0, value=propose_name(shown)),
        gr.update(
            visible=(upload or not settled) and report.usable > 0,
            value="Add dataset" if upload else "Confirm",
        ),
        gr.update(visible=not upload and settled),
        gr.update(visible=bool(report.problems)),
        gr.update(visible=True, value="Forget this file" if upload else "Remove"),
        dataset_view.show_problems(report),
        dataset_view.show_lengths(report.tokens, limit),
        gr.update(value=1, maximum=max(report.usable, 1)),
        show_record(workspace, shown, 1),
    ]


def _say_where(shown: Shown, report: CheckReport) -> str:
    """Not stored yet, or by what the stored file is known, and the columns it came from."""
    if shown.is_upload:
        return "Checked, not stored yet."
    columns = f" · {shown.columns}" if shown.columns else ""
    return f"SHA-256 {report.sha256[:16]}…{columns}"


def propose_name(shown: Shown) -> str:
    """What an upload could be called: its file's name, without what cannot be seen."""
    return clean_title(shown.source.stem)[:LONGEST_NAME] if isinstance(shown.source, Path) else ""


def _skip_label(bad: int) -> str:
    return f"Leave out {present.count(bad, 'bad row')} and use the rest"


def show_record(workspace: Workspace, shown: Shown | None, number: float | None) -> str:
    """One usable record as the model sees it."""
    if shown is None or not shown.usable:
        return present.empty(
            "No usable record", "Mend the problems above; then the model's view is shown here."
        )
    at = min(max(int(number or 1), 1), shown.usable)
    seen = data_preview.preview(workspace, shown.source, at, draft_config(workspace))
    facts = [f"{seen.unit} {seen.line}"]
    if seen.tokens is not None:
        facts.append(present.count(seen.tokens, "token"))
    if seen.truncated:
        facts.append("cut to the longest sequence")
    return present.pills(facts) + dataset_view.show_trained(seen.segments, seen.notices)


def check_new(
    workspace: Workspace, path: Path, progress: Progress, table: Path | None = None, title: str = ""
) -> list[Update]:
    """Look at an uploaded file, or at what a table was converted to."""
    report = data.check_upload(workspace, path, draft_config(workspace), progress)
    shown = Shown(path, title or path.name, report.usable, table)
    return draw_report(workspace, shown, report, settled=report.phi_rows == 0)


def check_stored(workspace: Workspace, name: str, progress: Progress) -> list[Update]:
    """Look at a stored dataset again, under the present configuration."""
    item = data.show_dataset(workspace, name)
    report = data.check_dataset(workspace, name, draft_config(workspace), progress)
    shown = Shown(name, item.title, report.usable, columns=tables.describe(item.table))
    return draw_report(workspace, shown, report, settled=item.phi_settled)
