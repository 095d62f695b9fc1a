"""The Adapters tab: what was learned, as cards; its release, its name and notes, its ways in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.services import adapter_library, adapters, evaluate
from medlora.services.release import read_releases
from medlora.ui import adapter_arriving, adapter_keeping, adapter_leaving, present, release_card
from medlora.ui.adapter_cards import show_card
from medlora.ui.blocks import actions, card, keep_choice, pick, row, words
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

NO_ADAPTER = present.empty(
    "No adapter yet",
    "An adapter appears here when a run ends, or when you stop one and keep it. Or bring one in below.",
)
NO_MATCH = present.empty("No adapter matches", "Every word must stand in its name, base, dataset or notes.")
# A press anywhere on a card chooses it; for a keyboard its name is a button.
_PRESS_CARD = """element.addEventListener('click', (event) => {
  const tile = event.target.closest('[data-adapter]');
  if (tile) trigger('click', {adapter: tile.dataset.adapter});
});"""
_SHOW_BOX = "() => document.querySelector('#adapters-box')?.scrollIntoView({block: 'start'})"
Update = Any


@dataclass(frozen=True)
class AdaptersTab:
    """The widgets of the tab."""

    search: gr.Textbox
    cards: gr.HTML
    box: gr.Column
    chosen: gr.Dropdown
    chat: gr.Button
    release: release_card.ReleaseCard
    keeping: adapter_keeping.KeepingCard
    leaving: adapter_leaving.LeavingCard
    arriving: adapter_arriving.ArrivingCard

    @property
    def drawn(self) -> list[Any]:
        return [self.search, self.cards, self.box, self.chosen]

    @property
    def looked_for(self) -> list[Any]:
        return [self.chosen, self.search]

    @property
    def detailed(self) -> list[Any]:
        """What tells of the chosen adapter alone."""
        return [*self.release.drawn, *self.keeping.drawn]


# Handlers


def draw(workspace: Workspace, chosen: str | None, search: str | None = "") -> list[Update]:
    """The cards that were looked for, and the choice among them."""
    everything = adapters.list_adapters(workspace)
    if not everything:
        return [gr.update(visible=False), NO_ADAPTER, gr.update(visible=False), pick([], None)]
    found = adapter_library.search(everything, search or "")
    releases = read_releases(workspace, found)
    choice = pick([(item.name, item.name) for item in found], chosen)
    tiles = "".join(
        show_card(
            item, releases[item.name], evaluate.read_result(item), chosen=item.name == choice.get("value")
        )
        for item in found
    )
    return [
        gr.update(visible=len(everything) > 1),
        f'<div class="ml-cards">{tiles}</div>' if found else NO_MATCH,
        gr.update(visible=bool(found)),
        keep_choice(choice, chosen),
    ]


def describe(workspace: Workspace, chosen: str | None, question: str | None) -> list[Update]:
    """All that is told of the chosen adapter alone."""
    return [*release_card.draw(workspace, chosen), *adapter_keeping.draw(workspace, chosen, question)]


# Layout and wiring


def build_adapters_tab() -> AdaptersTab:
    """Render the tab's widgets."""
    words(
        present.lead("Adapters", "What your runs have learned: small files that sit on top of a base model.")
    )
    search = gr.Textbox(
        label="Search", placeholder="A word of a name, base, dataset or note", visible=False, max_lines=1,
        elem_id="adapters-search", elem_classes="ml-search",
    )  # fmt: skip
    cards = gr.HTML(
        NO_ADAPTER, elem_id="adapter-cards", apply_default_css=False, elem_classes="ml-plain",
        js_on_load=_PRESS_CARD,
    )  # fmt: skip
    with gr.Column(visible=False, elem_classes="ml-stack", elem_id="adapters-box") as box:
        with card(), actions():
            with gr.Column(elem_classes="ml-grow"):
                chosen = gr.Dropdown([], label="Adapter", elem_id="adapters-chosen", filterable=False)
            chat = gr.Button("Chat with it", variant="primary", elem_id="adapters-chat")
        with row():
            with gr.Column(scale=3, elem_classes="ml-stack", min_width=300):
                release = release_card.build_release_card()
                leaving = adapter_leaving.build_leaving_card()
            with gr.Column(scale=2, min_width=300):
                keeping = adapter_keeping.build_keeping_card()
    arriving = adapter_arriving.build_arriving_card()
    return AdaptersTab(search, cards, box, chosen, chat, release, keeping, leaving, arriving)


def wire_adapters_tab(tab: AdaptersTab, workspace: Workspace, page: gr.Tab, timer: gr.Timer) -> None:
    """What each press does; `chat` belongs to the page, since it leads to another tab."""

    def redraw(chosen: str | None, search: str | None) -> list[Update]:
        return draw(workspace, chosen, search)

    def choose(event: gr.EventData) -> str:
        return adapters.show(workspace, str(event.adapter)).name

    def delete(name: str, search: str) -> list[Update]:
        adapter_library.delete(workspace, name)
        return [adapter_keeping.closed(), *draw(workspace, None, search)]

    def rename(name: str, new_name: str, search: str) -> list[Update]:
        card_of = adapter_library.rename(workspace, name, new_name)
        drawn = draw(workspace, None, search)
        return [*drawn[:-1], pick_one(drawn[-1], card_of.name)]

    def take_in(*asked: Any) -> list[Update]:
        done = adapter_arriving.take_in(workspace, *asked)
        drawn = draw(workspace, None, "")
        told = adapter_arriving.show_imported(done)
        return [
            None,
            "",
            "",
            told,
            gr.update(value="", visible=True),
            *drawn[1:-1],
            pick_one(drawn[-1], done.name),
        ]

    looked: dict[str, Any] = {"inputs": tab.looked_for, "outputs": tab.drawn, **POLL}
    detail: dict[str, Any] = {"inputs": [tab.chosen, tab.keeping.sure.box], "outputs": tab.detailed, **POLL}
    described = guarded(lambda chosen, question: describe(workspace, chosen, question))
    # Why the release alone when the tab is opened again: what is being typed below it stays.
    stands = guarded(lambda chosen: release_card.look(workspace, chosen))
    page.select(guarded(redraw), **looked).then(stands, tab.chosen, tab.release.looked, **POLL)
    tab.search.change(guarded(redraw), trigger_mode="always_last", **looked)
    tab.chosen.change(described, **detail)
    tab.chosen.change(guarded(redraw), **looked)
    tab.cards.click(guarded(choose), None, tab.chosen, **POLL).then(None, None, None, js=_SHOW_BOX)
    changed = release_card.wire_release_card(tab.release, tab.chosen, workspace)
    changed += adapter_keeping.wire_keeping_card(tab.keeping, tab.chosen, workspace)
    for event in changed:
        event.success(guarded(redraw), **looked)
    adapter_leaving.wire_leaving_card(tab.leaving, tab.chosen, workspace, timer)
    renaming = [tab.chosen, tab.keeping.name, tab.search]
    tab.keeping.rename.click(guarded(rename), renaming, tab.drawn, **SILENT)
    tab.keeping.sure.yes.click(guarded(delete), tab.looked_for, [tab.keeping.sure.box, *tab.drawn], **SILENT)
    arriving = tab.arriving
    tab.arriving.take.click(
        guarded(take_in), arriving.asked, [*arriving.asked, arriving.told, *tab.drawn], **SILENT
    )


def pick_one(update: dict[str, Any], name: str) -> dict[str, Any]:
    """The same update of a choice with this one chosen, if it is among them."""
    names = [key for _, key in update["choices"]]
    return {**update, "value": name} if name in names else update
