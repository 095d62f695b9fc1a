"""The card of a demo's Train tab on which a visitor starts a run of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.services.micro_run import MicroRuns
from medlora.ui import present
from medlora.ui.blocks import actions, card, words
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

_TITLE = "A short run of your own"
Update = Any


@dataclass(frozen=True)
class MicroRunCard:
    """The widgets of the card, and the runs they start."""

    runs: MicroRuns
    box: gr.Column
    start: gr.Button


def _tell(runs: MicroRuns) -> str:
    bounds = runs.bounds
    return (
        f"A real run of the starter on the sample dataset, cut to {present.count(bounds.steps, 'step')}. "
        "That is far too little to teach it anything; it shows what a run looks like, and its adapter can be "
        f"asked in the chat. One at a time; all of it is deleted {round(bounds.kept_s / 60)} minutes later."
    )


def build_micro_run(runs: MicroRuns) -> MicroRunCard:
    """Render the card, hidden until the machine was asked."""
    with card(visible=False, elem_id="micro-run") as box:
        words(present.heading(_TITLE, _tell(runs)))
        with actions():
            start = gr.Button("Start a short run", variant="primary", elem_id="micro-run-start")
    return MicroRunCard(runs, box, start)


def offer(runs: MicroRuns, workspace: Workspace) -> Update:
    """The card where the machine can do it, nothing where it cannot."""
    return gr.update(visible=not runs.why_not(workspace))


def wire_micro_run(
    made: MicroRunCard, workspace: Workspace, drawn: list[Any], redraw: Callable[[str | None], list[Update]]
) -> None:
    """The press: the run stands at once on the board beside it, as any other."""
    start = guarded(lambda: redraw(made.runs.start(workspace)), needs=Permission.TRY_RUN)
    made.start.click(start, None, drawn, **SILENT)


def wire_offer(made: MicroRunCard, page: gr.Tab, workspace: Workspace) -> None:
    """Whenever the tab is opened."""
    ask = guarded(lambda: offer(made.runs, workspace), quiet=True, needs=Permission.TRY_RUN)
    page.select(ask, None, made.box, **POLL)
