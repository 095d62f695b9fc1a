"""The card that keeps an adapter in order: its name, its notes, its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import adapter_library, adapters
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, words
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

Update = Any


@dataclass(frozen=True)
class KeepingCard:
    """The widgets of the card."""

    name: gr.Textbox
    rename: gr.Button
    notes: gr.Textbox
    save: gr.Button
    saved: gr.HTML
    delete: gr.Button
    sure: Confirmation

    @property
    def drawn(self) -> list[Any]:
        return [self.name, self.notes, self.saved, self.sure.box]


# Handlers


def closed() -> Update:
    """The question, answered."""
    return gr.update(value="", visible=False)


def draw(workspace: Workspace, name: str | None, question: str | None) -> list[Update]:
    """The name and the notes as they are kept.

    question: what is asked at the moment. Only a question about another adapter is closed: one about this
    adapter may have been opened while this was on its way.
    """
    notes = adapters.show(workspace, name).notes if name else ""
    of_another = question and (not name or _ask(name) != question)
    return [name or "", notes, "", closed() if of_another else gr.skip()]


def _ask(name: str) -> str:
    return f"<p>Delete <strong>{present.text(name)}</strong> for good? Runs and datasets stay.</p>"


def save_notes(workspace: Workspace, name: str | None, notes: str) -> list[Update]:
    """Keep the notes; what was kept, and that it was."""
    if not name:
        raise UserError("adapter: none is chosen; choose one above")
    kept = adapter_library.set_notes(workspace, name, notes).notes
    return [kept, f'<p class="ml-done">{"Notes saved." if kept else "Notes removed."}</p>']


def ask_to_delete(name: str) -> list[Update]:
    """The question before an adapter is gone for good."""
    return [gr.update(visible=True), _ask(name)]


# Layout and wiring


def build_keeping_card() -> KeepingCard:
    """Render the card."""
    with card():
        words(present.heading("Name and notes", "Ratings, figures and the run go with a new name."))
        name = gr.Textbox(label="Name", max_length=64, elem_id="adapters-name")
        with actions():
            rename = gr.Button("Rename", elem_id="adapters-rename")
        notes = gr.Textbox(
            label="Notes",
            info="For this installation; they are in no export and no report.",
            lines=3,
            max_lines=10,
            max_length=4000,
            elem_id="adapters-notes",
        )
        with actions():
            save = gr.Button("Save notes", elem_id="adapters-save")
            saved = words(elem_id="adapters-saved")
        with actions():
            delete = gr.Button("Delete this adapter", elem_classes="ml-danger", elem_id="adapters-delete")
        sure = confirmation("Delete for good", "Keep it", "adapters-sure")
    return KeepingCard(name, rename, notes, save, saved, delete, sure)


def wire_keeping_card(part: KeepingCard, chosen: gr.Dropdown, workspace: Workspace) -> list[Any]:
    """What each press does; the event after which the cards above are no longer true."""
    noted = part.save.click(
        guarded(lambda *asked: save_notes(workspace, *asked)),
        [chosen, part.notes],
        [part.notes, part.saved],
        **SILENT,
    )
    part.delete.click(guarded(ask_to_delete), chosen, [part.sure.box, part.sure.question], **POLL)
    part.sure.no.click(closed, None, part.sure.box, **POLL)
    return [noted]
