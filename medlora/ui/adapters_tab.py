"""The Adapters tab: what was learned, as cards; export, delete, chat with it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.services import adapter_library, adapters
from medlora.services.adapters import AdapterCard
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, keep_choice, pick, words
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

NO_ADAPTER = present.empty(
    "No adapter yet", "An adapter appears here when a run ends, or when you stop one and keep it."
)
Update = Any


@dataclass(frozen=True)
class AdaptersTab:
    """The widgets of the tab."""

    cards: gr.HTML
    box: gr.Column
    chosen: gr.Dropdown
    chat: gr.Button
    export: Download
    delete: gr.Button
    sure: Confirmation

    @property
    def drawn(self) -> list[Any]:
        return [self.cards, self.box, self.chosen]


# Handlers


def show_card(item: AdapterCard) -> str:
    """One adapter as a card."""
    facts = [f"base {item.base_model}" if item.base_model else "base unknown"]
    if item.rank:
        facts.append(f"rank {item.rank}")
    if item.steps:
        facts.append(present.count(item.steps, "step"))
    facts.append(f"{item.size_mib:.1f} MiB")
    made = item.created[:16].replace("T", " ")
    learned = f"Learned from {item.dataset}" if item.dataset else "Dataset unknown"
    if item.rows_train:
        learned += f", {present.count(item.rows_train, 'row')}"
    numbers = present.big_numbers(
        [("Loss", present.number(item.train_loss)), ("Eval loss", present.number(item.eval_loss))]
    )
    problem = present.notice("red", "It cannot be used", item.problem) if item.problem else ""
    stopped = f" · {item.status}" if item.status and item.status != "completed" else ""
    return (
        f'<article class="ml-tile"><h3>{present.text(item.name)}</h3>{problem}'
        f"<p>{present.text(learned)}<br>{present.text(made)}{present.text(stopped)}</p>"
        f"{numbers}{present.pills(facts)}</article>"
    )


def draw(workspace: Workspace, chosen: str | None) -> list[Update]:
    """The cards and the choice among them."""
    cards = adapters.list_adapters(workspace)
    if not cards:
        return [NO_ADAPTER, gr.update(visible=False), pick([], None)]
    tiles = f'<div class="ml-cards">{"".join(show_card(item) for item in cards)}</div>'
    return [
        tiles,
        gr.update(visible=True),
        keep_choice(pick([(item.name, item.name) for item in cards], chosen), chosen),
    ]


def export(workspace: Workspace, name: str) -> Path:
    """The adapter's zip, where the page may hand it out."""
    made = adapters.export_zip(workspace, name)
    handed = new_download(made.name)
    shutil.move(made, handed)
    shutil.rmtree(made.parent, ignore_errors=True)
    return handed


def ask_to_delete(name: str) -> list[Update]:
    """The question before an adapter is gone for good."""
    question = f"<p>Delete <strong>{present.text(name)}</strong> for good? Runs and datasets stay.</p>"
    return [gr.update(visible=True), question]


# Layout and wiring


def build_adapters_tab() -> AdaptersTab:
    """Render the tab's widgets."""
    words(
        present.lead("Adapters", "What your runs have learned: small files that sit on top of a base model.")
    )
    cards = words(NO_ADAPTER, elem_id="adapter-cards")
    with card(visible=False) as box:
        words(present.heading("Use one"))
        chosen = gr.Dropdown([], label="Adapter", elem_id="adapters-chosen", filterable=False)
        with actions():
            chat = gr.Button("Chat with it", variant="primary", elem_id="adapters-chat")
            export_zip = download("Download as zip", "adapters-export")
            delete = gr.Button("Delete", elem_classes="ml-danger", elem_id="adapters-delete")
        sure = confirmation("Delete for good", "Keep it", "adapters-sure")
    return AdaptersTab(cards, box, chosen, chat, export_zip, delete, sure)


def wire_adapters_tab(tab: AdaptersTab, workspace: Workspace) -> None:
    """What each press does; `chat` belongs to the page, since it leads to another tab."""

    def delete(name: str) -> list[Update]:
        adapter_library.delete(workspace, name)
        return [gr.update(visible=False), *draw(workspace, None)]

    tab.export.wire(lambda name: export(workspace, name), [tab.chosen])
    tab.delete.click(guarded(ask_to_delete), tab.chosen, [tab.sure.box, tab.sure.question], **POLL)
    tab.sure.no.click(lambda: gr.update(visible=False), None, tab.sure.box, **POLL)
    tab.sure.yes.click(guarded(delete), tab.chosen, [tab.sure.box, *tab.drawn], **SILENT)
