"""The keywords of the safety layer: edit them, see at once what they would change, write them down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.services import data, keyword_trial
from medlora.ui import present
from medlora.ui.blocks import actions, card, row, words
from medlora.ui.draft import policy_settings
from medlora.ui.events import POLL, guarded
from medlora.ui.score_view import show_comparison
from medlora.workspace import Workspace

SAMPLE = ("The questions of the sample dataset", "")
NO_CHANGE = present.empty(
    "No change yet",
    "Edit the words: what they would change on labelled messages and on traffic appears here.",
)
Update = Any


@dataclass(frozen=True)
class KeywordsCard:
    """The widgets of the card; `filled` is what the fields held when they were last filled."""

    caution: gr.Textbox
    defer: gr.Textbox
    traffic: gr.Dropdown
    write: gr.Button
    reset: gr.Button
    answer: gr.HTML
    written: gr.HTML
    filled: gr.State

    @property
    def fields(self) -> list[Any]:
        return [self.caution, self.defer]

    @property
    def opened(self) -> list[Any]:
        """What `open_card` fills."""
        return [self.caution, self.defer, self.traffic, self.filled]


# Handlers


def fill_fields(workspace: Workspace) -> tuple[str, str]:
    """The words of the configuration being written, one a line; the defaults while it has errors."""
    settings = keyword_trial.as_settings(policy_settings(workspace))
    return "\n".join(settings["safety_keywords"]), "\n".join(settings["defer_keywords"])


def open_card(
    workspace: Workspace, caution: str, defer: str, traffic: str, filled: tuple[str, str]
) -> list[Update]:
    """The card when its tab is opened: what the user has begun to change stays."""
    choices = [
        SAMPLE,
        *((f"The questions of {item.title}", item.name) for item in data.list_datasets(workspace)),
    ]
    chosen = traffic if traffic in [name for _, name in choices] else ""
    listed = gr.update(choices=choices, value=chosen)
    if [caution, defer] != list(filled):
        return [gr.skip(), gr.skip(), listed, gr.skip()]
    fresh = fill_fields(workspace)
    return [*fresh, listed, fresh]


def answer(workspace: Workspace, caution: str, defer: str, traffic: str) -> str:
    """What these words would change, against those of the configuration being written."""
    words_now = [keyword_trial.read_keywords(field) for field in fill_fields(workspace)]
    words_then = [keyword_trial.read_keywords(field) for field in (caution, defer)]
    if words_now == words_then:
        return NO_CHANGE
    settings = keyword_trial.as_settings(policy_settings(workspace))
    after = keyword_trial.with_keywords(settings, *words_then)
    return show_comparison(keyword_trial.what_would_change(workspace, settings, after, traffic=traffic or ""))


def write(workspace: Workspace, caution: str, defer: str) -> list[Update]:
    """Write the words into the configuration; the fields then hold what it says."""
    keyword_trial.write_keywords(
        workspace, keyword_trial.read_keywords(caution), keyword_trial.read_keywords(defer)
    )
    fresh = fill_fields(workspace)
    note = "They stand in the Configure tab now, and count for messages tried here and for runs you start."
    return [*fresh, fresh, NO_CHANGE, present.notice("info", "Written into the configuration", note)]


# Layout and wiring


def build_keywords_card() -> KeywordsCard:
    """Render the card's widgets."""
    with row():
        with card(scale=2):
            words(
                present.heading(
                    "Your keywords",
                    "Whole words and phrases, one a line; inflections and slips are found too, denials are "
                    "not. They add to the built-in signs.",
                )
            )
            defer = gr.Textbox(
                label="Referral words", lines=4, max_lines=12, max_length=20_000, elem_id="safety-defer",
                info="Used of someone who is unwell, they lead to a referral to a professional.",
            )  # fmt: skip
            caution = gr.Textbox(
                label="Caution words", lines=4, max_lines=12, max_length=20_000, elem_id="safety-caution",
                info="The model answers, and a note of caution is added.",
            )  # fmt: skip
            traffic = gr.Dropdown(
                [SAMPLE], value="", label="Try them on", elem_id="safety-traffic", filterable=False
            )
            with actions():
                write_down = gr.Button(
                    "Put them into the configuration", variant="primary", elem_id="safety-write"
                )
                reset = gr.Button("Undo my changes", elem_classes="ml-quiet", elem_id="safety-reset")
            written = words(elem_id="safety-written")
        with card(scale=3):
            words(present.heading("What this would change", "On labelled messages, and on what people ask."))
            told = words(NO_CHANGE, elem_id="safety-change")
    return KeywordsCard(caution, defer, traffic, write_down, reset, told, written, gr.State(("", "")))


def wire_keywords_card(tab: KeywordsCard, workspace: Workspace) -> Any:
    """What each change does; nothing is written before the button is pressed, whose event is returned."""
    inputs = [*tab.fields, tab.traffic]
    ask = guarded(lambda *values: answer(workspace, *values))
    for field in tab.fields:
        field.change(ask, inputs, tab.answer, trigger_mode="always_last", **POLL)
    tab.traffic.input(ask, inputs, tab.answer, **POLL)

    def undo() -> list[Update]:
        fresh = fill_fields(workspace)
        return [*fresh, fresh, NO_CHANGE, ""]

    tab.reset.click(guarded(undo), None, [*tab.fields, tab.filled, tab.answer, tab.written], **POLL)
    return tab.write.click(
        guarded(lambda *values: write(workspace, *values)),
        tab.fields,
        [*tab.fields, tab.filled, tab.answer, tab.written],
        **POLL,
    )
