"""Ratings and votes at a glance, and what can be made of them: a dataset, files, or nothing any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import data, feedback, feedback_data
from medlora.services.feedback import Selection
from medlora.services.feedback_data import Kind, LearningOptions
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, pick, row, words
from medlora.ui.dataset_adding import PHI_CHOICES
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.feedback_view import (
    name_rating,
    name_vote,
    show_figures,
    show_offer,
    show_ratings,
    show_standings,
)
from medlora.workspace import Workspace

EVERYTHING, ALONE = "everything", ""
NOTHING = present.empty(
    "Nothing was rated yet", "Ask something in the chat and rate the answer below it, or compare two blind."
)
Update = Any


@dataclass(frozen=True)
class FeedbackSection:
    """The widgets of the section."""

    about: gr.Dropdown
    figures: gr.HTML
    standings: gr.HTML
    table: gr.HTML
    learn: gr.Column
    offer: gr.HTML
    onto: gr.Dropdown
    approved: gr.Checkbox
    phi: gr.Radio
    make: gr.Button
    look: gr.Button
    made: gr.HTML
    made_name: gr.State
    corrections: Download
    preferences: Download
    forget: gr.Column
    chosen: gr.Dropdown
    delete: gr.Button
    sure: Confirmation

    @property
    def drawn(self) -> list[Any]:
        return [
            self.about, self.figures, self.standings, self.table, self.learn, self.offer, self.onto, self.phi,
            self.forget, self.chosen,
        ]  # fmt: skip


# Handlers


def selection_of(about: str | None) -> Selection:
    """The choice of whose answers are meant: an adapter, base models (empty), or everything."""
    return Selection(adapter=None if about in (None, EVERYTHING) else about)


def draw(workspace: Workspace, about: str | None, onto: str | None, approved: bool) -> list[Update]:
    """Everything in the section, from disk."""
    whose = pick(_subjects(workspace), about)
    selection = selection_of(whose["value"])
    rated, votes = feedback.list_ratings(workspace, selection), feedback.list_votes(workspace, selection)
    found = feedback_data.harvest_corrections(workspace, selection, approved=approved)
    stored = [("A dataset of their own", ALONE)]
    stored += [(f"The rows of {item.title}, then these", item.name) for item in data.list_datasets(workspace)]
    anything = bool(rated or votes)
    return [
        whose,
        show_figures(rated, votes),
        show_standings(feedback.standings(workspace, selection)),
        show_ratings(rated) if anything else NOTHING,
        gr.update(visible=anything),
        show_offer(found),
        pick(stored, onto),
        gr.update(visible=feedback_data.count_personal(found.rows) > 0),
        gr.update(visible=anything),
        gr.update(choices=[*map(name_rating, rated), *map(name_vote, votes)], value=[]),
    ]


def _subjects(workspace: Workspace) -> list[tuple[str, str]]:
    answers = [item.answer for item in feedback.list_ratings(workspace)]
    answers += [answer for vote in feedback.list_votes(workspace) for answer in (vote.left, vote.right)]
    names = sorted({answer.adapter for answer in answers if answer.adapter})
    bases = [("Base models alone", "")] if any(answer.adapter is None for answer in answers) else []
    return [("All answers", EVERYTHING), *((name, name) for name in names), *bases]


def make_dataset(
    workspace: Workspace, about: str | None, onto: str | None, approved: bool, phi: str | None
) -> list[Update]:
    """One press: the corrections as a dataset.

    Raises: UserError while it is open whether what may identify a person may be used.
    """
    selection = selection_of(about)
    found = feedback_data.harvest_corrections(workspace, selection, approved=approved)
    personal = feedback_data.count_personal(found.rows)
    if personal and phi not in ("redact", "rights"):
        raise UserError(
            f"personal data: {present.count(personal, 'correction')} may identify a person; "
            "say that you may use it, or have it redacted"
        )
    choice: Any = phi if phi in ("redact", "rights") else None
    options = LearningOptions(selection, approved, onto or None, phi=choice)
    made, _ = feedback_data.add_to_dataset(workspace, options)
    rows = f"{present.count(made.usable, 'usable row')}, {len(found.rows)} of them from ratings"
    return [
        present.notice(
            "info", f"The dataset {made.name} is ready", f"{rows}. Look at it, then train with it."
        ),
        made.name,
        gr.update(visible=True),
    ]


def write_file(workspace: Workspace, kind: Kind, about: str | None, approved: bool) -> Path:
    """Corrections or preferences, where the page may hand them out."""
    target = new_download(f"{kind}.jsonl")
    feedback_data.export_feedback(workspace, kind, target, selection_of(about), approved=approved)
    return target


def ask_to_delete(chosen: list[str]) -> list[Update]:
    """The question before ratings are gone for good."""
    if not chosen:
        raise UserError("delete: nothing is chosen; choose ratings or votes first")
    amount = present.count(len(chosen), "rating or vote", "ratings or votes")
    question = f"<p>Delete {amount} for good? Datasets that were made of them stay.</p>"
    return [gr.update(visible=True), question]


# Layout and wiring


def build_feedback_section() -> FeedbackSection:
    """Render the section's widgets."""
    with card():
        words(
            present.heading("What people said", "Every rating and vote, with the weights that had answered.")
        )
        about = gr.Dropdown([], label="Answers of", elem_id="feedback-about", filterable=False)
        figures = words(elem_id="feedback-figures")
        standings = words(elem_id="feedback-standings")
        table = words(NOTHING, elem_id="feedback-table")
    with row():
        with card(scale=3, visible=False) as learn:
            words(
                present.heading(
                    "Learn from it",
                    "Corrected answers become a dataset. A row names the rating it came from, not the rater.",
                )
            )
            offer = words(elem_id="feedback-offer")
            onto = gr.Dropdown([], label="Make", elem_id="feedback-onto", filterable=False)
            approved = gr.Checkbox(
                label="Also answers marked safe and correct, as they are", elem_id="feedback-approved"
            )
            phi = gr.Radio(
                PHI_CHOICES,
                label="Some corrections may identify a person",
                visible=False,
                elem_id="feedback-phi",
            )
            with actions():
                make = gr.Button("Make the dataset", variant="primary", elem_id="feedback-make")
                corrections = download("Download corrections", "feedback-corrections")
                preferences = download("Download preferences", "feedback-preferences")
            made = words(elem_id="feedback-made")
            look = gr.Button("Look at it", visible=False, elem_id="feedback-look")
        with card(scale=2, visible=False) as forget:
            words(present.heading("Forget", "What is deleted is overwritten on the disk."))
            chosen = gr.Dropdown(
                [], label="Ratings and votes", multiselect=True, elem_id="feedback-chosen", value=[]
            )
            with actions():
                delete = gr.Button("Delete", elem_classes="ml-danger", elem_id="feedback-delete")
            sure = confirmation("Delete for good", "Keep them", "feedback-sure")
    return FeedbackSection(
        about, figures, standings, table, learn, offer, onto, approved, phi, make, look, made, gr.State(None),
        corrections, preferences, forget, chosen, delete, sure,
    )  # fmt: skip


def wire_feedback_section(section: FeedbackSection, workspace: Workspace) -> None:
    """What each press does; `look` belongs to the page, since it leads to another tab."""
    chosen = [section.about, section.onto, section.approved]

    def redraw(*values: Any) -> list[Update]:
        return draw(workspace, *values)

    def delete(ids: list[str], *values: Any) -> list[Update]:
        feedback.delete_records(workspace, ids)
        return [gr.update(visible=False), *draw(workspace, *values)]

    section.about.input(guarded(redraw), chosen, section.drawn, **POLL)
    section.approved.input(guarded(redraw), chosen, section.drawn, **POLL)
    section.make.click(
        guarded(lambda *values: make_dataset(workspace, *values)),
        [*chosen, section.phi],
        [section.made, section.made_name, section.look],
        **SILENT,
    ).then(guarded(redraw), chosen, section.drawn, **POLL)
    for button, kind in ((section.corrections, "corrections"), (section.preferences, "preferences")):
        button.wire(
            lambda about, approved, kind=kind: write_file(workspace, kind, about, approved),
            [section.about, section.approved],
        )
    section.delete.click(
        guarded(ask_to_delete), section.chosen, [section.sure.box, section.sure.question], **POLL
    )
    section.sure.no.click(lambda: gr.update(visible=False), None, section.sure.box, **POLL)
    section.sure.yes.click(
        guarded(delete), [section.chosen, *chosen], [section.sure.box, *section.drawn], **SILENT
    )
