"""Fit to this device: a button, what it would change, and whether to change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.services.configure import ANY_DATASET
from medlora.services.fitting import Fit, describe_fit, fit_device
from medlora.ui import present
from medlora.ui.blocks import actions, words
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

Update = Any


@dataclass(frozen=True)
class FitBox:
    """The widgets; `proposed` holds the text that would take the place of the present one."""

    ask: gr.Button
    box: gr.Column
    found: gr.HTML
    use: gr.Button
    leave: gr.Button
    proposed: gr.State


def build_fit_box() -> FitBox:
    """Render the button and the closed box below it."""
    with actions():
        ask = gr.Button("Fit to this device", elem_id="config-fit")
    with gr.Column(visible=False, elem_classes="ml-proposal", elem_id="config-fit-box") as box:
        found = words(elem_id="config-fit-found")
        with actions():
            use = gr.Button("Use these changes", variant="primary", size="md", elem_id="config-fit-use")
            leave = gr.Button("Close", size="md", elem_id="config-fit-leave")
    return FitBox(ask, box, found, use, leave, gr.State(""))


def wire_fit_box(box: FitBox, text: gr.Code, workspace: Workspace) -> None:
    """Asking shows a proposal; only agreeing writes it into the text."""

    def ask(written: str) -> list[Update]:
        found = fit_device(workspace, written, dataset=ANY_DATASET)
        return [gr.update(visible=True), show_fit(found), gr.update(visible=bool(found.changes)), found.text]

    box.ask.click(guarded(ask), text, [box.box, box.found, box.use, box.proposed], **SILENT)
    box.use.click(
        lambda proposed: [proposed, gr.update(visible=False)], box.proposed, [text, box.box], **POLL
    )
    box.leave.click(lambda: gr.update(visible=False), None, box.box, **POLL)
    text.change(lambda: gr.update(visible=False), None, box.box, **POLL)


def show_fit(fit: Fit) -> str:
    """What was found in a sentence, and the lines that would change."""
    if fit.before.fits is not False:
        return present.notice("info", describe_fit(fit))
    return present.notice("info" if fit.fits else "amber", describe_fit(fit)) + _show_diff(fit.diff)


def _show_diff(diff: str) -> str:
    """Removed and added lines; each begins with its sign, so that colour is not needed to tell them apart."""
    lines = []
    for line in diff.split("\n")[2:]:
        if line.startswith("@@"):
            continue
        kind = {"-": "del", "+": "ins"}.get(line[:1], "span")
        lines.append(f"<{kind}>{present.text(line)}</{kind}>")
    return f'<pre class="ml-diff" aria-label="Changes">{"".join(lines)}</pre>' if lines else ""
