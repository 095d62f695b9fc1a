"""The card on which a person reads the figures of the release gate and signs; the report to take along."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import release
from medlora.services.feedback import read_rater
from medlora.services.release import Release
from medlora.ui import present
from medlora.ui.adapter_cards import show_state
from medlora.ui.blocks import actions, card, words
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import SILENT, guarded
from medlora.ui.report import make_report
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

Update = Any


@dataclass(frozen=True)
class ReleaseCard:
    """The widgets of the card."""

    state: gr.HTML
    signing: gr.Column
    by: gr.Textbox
    note: gr.Textbox
    sign: gr.Button
    measure: gr.Button
    withdraw: gr.Button
    html: Download
    markdown: Download

    @property
    def drawn(self) -> list[Any]:
        return [*self.looked, self.by, self.note]

    @property
    def looked(self) -> list[Any]:
        return [self.state, self.signing, self.measure, self.withdraw]


# Handlers


def show_release(found: Release) -> str:
    """The state, who signed, and each demand of the gate with its figure."""
    rows: list[tuple[str, present.Mark, str]] = [
        (check.name, "ok" if check.met else "wait", check.words) for check in found.checks
    ]
    return f"<p>{show_state(found)}</p>{_show_signature(found)}{present.checklist(rows)}"


def _show_signature(found: Release) -> str:
    signature = found.signature
    if signature is None:
        return ""
    when = signature.signed[:16].replace("T", " ")
    note = f"<br>{present.text(signature.note)}" if signature.note else ""
    weights = signature.weights_sha256[:12]
    return (
        f'<p class="ml-small">Signed {present.text(when)} by {present.text(signature.by)}, '
        f"for the weights {present.text(weights)}.{note}</p>"
    )


def look(workspace: Workspace, name: str | None) -> list[Update]:
    """Where an adapter stands now, and what may be done about it."""
    if not name:
        return ["", *[gr.update(visible=False)] * 3]
    found = release.read_release(workspace, name)
    return [
        show_release(found),
        gr.update(visible=found.state == "ready"),
        gr.update(visible=bool(found.missed)),
        gr.update(visible=found.signature is not None or found.void),
    ]


def draw(workspace: Workspace, name: str | None) -> list[Update]:
    """The card for another adapter; a name is offered to sign with, and can be changed."""
    return [*look(workspace, name), account_name() or read_rater(workspace), ""]


def sign(workspace: Workspace, name: str | None, by: str, note: str) -> list[Update]:
    """Sign, keep the report that says so, and show where the adapter stands."""
    release.sign(workspace, _chosen(name), by, note, account_name())
    make_report(workspace, _chosen(name))
    return draw(workspace, name)


def withdraw(workspace: Workspace, name: str | None) -> list[Update]:
    """Take the signature back, and show where the adapter stands."""
    release.withdraw(workspace, _chosen(name), account_name())
    return draw(workspace, name)


def hand_out_report(workspace: Workspace, name: str | None, *, markdown: bool = False) -> Path:
    """The report as things are now, where the page may hand it out."""
    page, plain, _ = make_report(workspace, _chosen(name))
    made = plain if markdown else page
    return Path(shutil.copyfile(made, new_download(f"{name}-{made.name}")))


def _chosen(name: str | None) -> str:
    if not name:
        raise UserError("adapter: none is chosen; choose one above")
    return name


# Layout and wiring


def build_release_card() -> ReleaseCard:
    """Render the card."""
    with card():
        words(
            present.heading(
                "Release",
                "An adapter is a draft until its figures reach the gate in its configuration "
                "and a named person signs for it.",
            )
        )
        state = words(elem_id="release-state")
        with gr.Column(visible=False) as signing:
            by = gr.Textbox(label="Who signs", max_length=60, elem_id="release-by")
            note = gr.Textbox(
                label="Note (optional)",
                info="What the signature is for, or its limits.",
                max_length=500,
                elem_id="release-note",
            )
            with actions():
                sign_off = gr.Button("Sign off", variant="primary", elem_id="release-sign")
        with actions():
            measure = gr.Button("Measure it", visible=False, elem_id="release-measure")
            html = download("Report", "release-report")
            markdown = download("Report as Markdown", "release-markdown")
            take_back = gr.Button(
                "Take the signature back", visible=False, elem_classes="ml-quiet", elem_id="release-withdraw"
            )
    return ReleaseCard(state, signing, by, note, sign_off, measure, take_back, html, markdown)


def wire_release_card(part: ReleaseCard, chosen: gr.Dropdown, workspace: Workspace) -> list[Any]:
    """What each press does; the events after which the cards above are no longer true."""
    part.html.wire(lambda name: hand_out_report(workspace, name), [chosen])
    part.markdown.wire(lambda name: hand_out_report(workspace, name, markdown=True), [chosen])
    signed = part.sign.click(
        guarded(lambda *asked: sign(workspace, *asked)), [chosen, part.by, part.note], part.drawn, **SILENT
    )
    taken = part.withdraw.click(guarded(lambda name: withdraw(workspace, name)), chosen, part.drawn, **SILENT)
    return [signed, taken]
