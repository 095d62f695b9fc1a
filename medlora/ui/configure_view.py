"""How a configuration looks: its problems, its values with their origins, its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medlora.ui import present
from medlora.ui.present import count, gib, text

if TYPE_CHECKING:
    from medlora.config.memory import Forecast
    from medlora.errors import Problem
    from medlora.services.configure import OriginRow

PART_WORDS = {
    "weights": "Base weights",
    "adapter": "Adapter",
    "optimizer": "Optimizer",
    "activations": "Activations",
    "logits": "Word scores",
    "overhead": "Overhead",
}


def show_problems(problems: Sequence[Problem], notices: Sequence[Problem]) -> str:
    """Problems first, each at its place, then what will be done differently."""
    if not problems and not notices:
        return present.notice("info", "This configuration is fine")
    parts = []
    if problems:
        title = f"{count(len(problems), 'problem')} to mend"
        parts.append(_list("red", title, problems))
    if notices:
        title = "Good to know" if problems else "This configuration is fine. Good to know:"
        parts.append(_list("info", title, notices))
    return "".join(parts)


def _list(kind: str, title: str, problems: Sequence[Problem]) -> str:
    items = "".join(f"<li>{_place(problem)}{text(problem.message)}</li>" for problem in problems)
    role = "alert" if kind == "red" else "status"
    sign = "!" if kind == "red" else "i"
    return (
        f'<div class="ml-notice ml-{kind}" role="{role}">'
        f'<span class="ml-sign" aria-hidden="true">{sign}</span>'
        f'<div><strong>{text(title)}</strong><ul class="ml-list">{items}</ul></div></div>'
    )


def _place(problem: Problem) -> str:
    where = f"Line {problem.line}" if problem.line else problem.where
    parts = [f"<b>{text(part)}</b>" for part in (where, problem.key) if part]
    return f"{' · '.join(parts)}: " if parts else ""


def show_origins(rows: Sequence[OriginRow]) -> str:
    """Every value that counts, and where it comes from."""
    if not rows:
        return present.empty("Not known yet", "Mend the problems first; then every value is listed here.")
    listed = [(item.key, _short(item.value), item.origin) for item in rows]
    return present.table(("Setting", "Value", "From"), listed, kind="ml-origins")


def _short(value: str) -> str:
    return value if len(value) <= 160 else f"{value[:157]}…"


def show_forecast(forecast: Forecast) -> str:
    """How much memory a run will take, against what there is."""
    device = forecast.device
    figures = present.big_numbers(
        [
            ("A run needs about", gib(forecast.total_gib)),
            ("Free now", gib(device.free_gib), "on the CPU" if device.kind == "cpu" else "on the GPU"),
        ]
    )
    verdict = ""
    if forecast.fits is False:
        verdict = present.notice("amber", "It may not fit", "Fit to this device proposes the mildest change.")
    top = max(forecast.parts.values(), default=0.0) or 1.0
    bars = "".join(
        f'<li><span>{text(PART_WORDS.get(name, name))}</span><i style="width:{100 * size / top:.0f}%"></i>'
        f"<b>{size:.2f}</b></li>"
        for name, size in forecast.parts.items()
    )
    source = (
        "From a trace of one step of this very model."
        if forecast.source == "traced"
        else "A first count from the model's shape; a trace of the model takes its place in a moment."
    )
    return (
        f'{figures}{verdict}<ul class="ml-bars" aria-label="Parts in GiB">{bars}</ul>'
        f'<p class="ml-small">{source}</p>'
    )
