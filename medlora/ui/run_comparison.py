"""Runs side by side: their curves in one picture, their results, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medlora.ui import present
from medlora.ui.chart import Series, line_chart
from medlora.ui.run_view import STATUS_WORDS

if TYPE_CHECKING:
    from medlora.services.run_records import ComparedRun, Comparison

_RESULTS = (
    ("status", "State"),
    ("steps", "Steps"),
    ("train_loss", "Mean training loss"),
    ("eval_loss", "Eval loss"),
    ("tokens_per_second", "Tokens per second"),
    ("seconds", "Took"),
    ("peak_memory_gib", "Memory at most"),
)


def show_comparison(comparison: Comparison) -> str:
    """Everything about runs that are compared, as one piece of the page."""
    runs = comparison.runs
    names = name_runs(runs)
    curves = (("Loss", "loss"), ("Eval loss", "eval_loss"))
    drawn = "".join(_curves(title, key, runs, names) for title, key in curves)
    parts = [f'<div class="ml-charts">{drawn}</div>']
    rows = [
        ("Dataset", *(run.dataset for run in runs)),
        *((label, *(_cell(key, run.results.get(key)) for run in runs)) for key, label in _RESULTS),
    ]
    if any(run.note for run in runs):
        rows.append(("Note", *(run.note for run in runs)))
    parts.append(present.table(("", *names), rows, "Results", "ml-compare"))
    differences = [
        (key, *(_plain(value) for value in values)) for key, values in comparison.differences.items()
    ]
    if differences:
        parts.append(present.table(("", *names), differences, "Settings that differ", "ml-compare"))
    else:
        parts.append(
            present.notice("info", "The same settings", "These runs differ in nothing that was set.")
        )
    return "".join(parts)


def name_runs(runs: Sequence[ComparedRun]) -> list[str]:
    """A short name for each; where two have the same, the end of the run's id tells them apart."""
    names = [run.adapter for run in runs]
    return [
        f"{name} ({run.run_id[-4:]})" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def _curves(title: str, key: str, runs: Sequence[ComparedRun], names: Sequence[str]) -> str:
    lines = [
        Series(name, [(point.step, point.value) for point in run.curves[key]])
        for name, run in zip(names, runs, strict=True)
    ]
    return line_chart(title, lines, overlay=True) if any(line.points for line in lines) else ""


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if key == "status":
        return STATUS_WORDS.get(value, str(value))
    if key == "seconds":
        return present.duration(value)
    return present.gib(value) if key == "peak_memory_gib" else present.number(value)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}…"
