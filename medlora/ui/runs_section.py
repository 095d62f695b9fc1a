"""All runs, below the one that is watched: find, compare, annotate, hand on, make again, delete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.errors import UserError
from medlora.services import run_records, train
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, words
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.run_comparison import show_comparison
from medlora.ui.run_view import STATUS_WORDS
from medlora.workspace import Workspace

MOST_LISTED = 50
NONE_FOUND = present.empty("No run fits", "Try fewer words: parts of a name, a dataset, a model or a note.")
CHOOSE_ONE = (
    "Choose a run to note something about it, hand on its record or make it again; two to compare them."
)
Update = Any


@dataclass(frozen=True)
class RunsSection:
    """The widgets of the section. one: what is done with a single run."""

    box: gr.Column
    words: gr.Textbox
    listed: gr.HTML
    chosen: gr.Dropdown
    result: gr.HTML
    one: gr.Column
    note: gr.Textbox
    keep_note: gr.Button
    again: gr.Button
    export: Download
    delete: gr.Button
    sure: Confirmation

    @property
    def drawn(self) -> list[Any]:
        """What `draw` fills."""
        return [self.box, self.listed, self.chosen, self.result, self.one, self.note]


# Handlers


def draw(workspace: Workspace, asked: str | None, chosen: list[str] | None) -> list[Update]:
    """The list, the choice among it, and what is shown of the choice."""
    found = run_records.find_runs(workspace, asked or "")
    known = {item.run_id for item in train.list_runs(workspace)}
    kept = [run_id for run_id in chosen or [] if run_id in known]
    labels = [(f"{item.adapter_name} · {item.started} · {item.run_id[-4:]}", item.run_id) for item in found]
    hidden = [(run_id, run_id) for run_id in kept if run_id not in {value for _, value in labels}]
    choice = gr.update(choices=labels + hidden, value=kept)
    return [
        gr.update(visible=bool(known)),
        show_list(workspace, found),
        choice,
        *show_chosen(workspace, kept),
    ]


def show_list(workspace: Workspace, found: list[train.RunSummary]) -> str:
    """The runs as a table, newest first."""
    if not found:
        return NONE_FOUND
    rows = [
        (
            item.adapter_name,
            STATUS_WORDS[item.status],
            item.dataset,
            item.base_model.rsplit("/", 1)[-1],
            f"{present.number(item.step)} of {present.number(item.total_steps)}" if item.total_steps else "–",
            present.number(item.loss),
            present.number(item.eval_loss),
            item.started,
            run_records.read_note(workspace, item.run_id).split("\n")[0],
        )
        for item in found[:MOST_LISTED]
    ]
    caption = present.count(len(found), "run") + (
        f", the newest {MOST_LISTED} shown" if len(found) > MOST_LISTED else ""
    )
    headers = ("Adapter", "State", "Dataset", "Model", "Step", "Loss", "Eval loss", "Begun", "Note")
    return present.table(headers, rows, caption)


def show_chosen(workspace: Workspace, chosen: list[str] | None) -> list[Update]:
    """[result, the box for one run, its note]."""
    if chosen and len(chosen) > 1:
        return [show_comparison(run_records.compare(workspace, chosen)), gr.update(visible=False), ""]
    if not chosen:
        return [f'<p class="ml-small">{CHOOSE_ONE}</p>', gr.update(visible=False), ""]
    return ["", gr.update(visible=True), run_records.read_note(workspace, chosen[0])]


def export(workspace: Workspace, chosen: list[str] | None) -> Path:
    """The run's record as a zip, where the page may hand it out."""
    made = run_records.export_record(workspace, _single(chosen))
    handed = new_download(made.name)
    shutil.move(made, handed)
    shutil.rmtree(made.parent, ignore_errors=True)
    return handed


def ask_to_delete(workspace: Workspace, chosen: list[str] | None) -> list[Update]:
    """The question before a run is gone for good."""
    name = train.view(workspace, _single(chosen)).adapter_name
    question = (
        f"<p>Delete the run of <strong>{present.text(name)}</strong> with its log and checkpoints for good? "
        "It cannot be resumed or made again then. Its adapter stays.</p>"
    )
    return [gr.update(visible=True), question]


def _single(chosen: list[str] | None) -> str:
    if not chosen or len(chosen) != 1:
        raise UserError(f"run: choose one (got {len(chosen or [])})")
    return chosen[0]


# Layout and wiring


def build_runs_section() -> RunsSection:
    """Render the section's widgets."""
    with card(visible=False, elem_id="runs-box") as box:
        words(present.heading("All runs"))
        asked = gr.Textbox(
            label="Find", placeholder="a name, a dataset, a model, a state, a note", elem_id="runs-find"
        )
        listed = words(elem_id="runs-list")
        chosen = gr.Dropdown(
            [],
            label="Chosen runs",
            info="One to work with, two to six to compare",
            multiselect=True,
            max_choices=run_records.MOST_COMPARED,
            elem_id="runs-chosen",
        )
        result = words(elem_id="runs-result")
        with gr.Column(visible=False, elem_classes="ml-board") as one:
            note = gr.Textbox(label="Note", lines=3, max_length=run_records.LONGEST_NOTE, elem_id="runs-note")
            with actions():
                keep_note = gr.Button("Keep the note", elem_id="runs-keep-note")
                again = gr.Button("Make it again", elem_id="runs-again")
                record = download("Download its record", "runs-export")
                delete = gr.Button("Delete the run", elem_classes="ml-danger", elem_id="runs-delete")
            sure = confirmation("Delete for good", "Keep it", "runs-sure")
    return RunsSection(
        box=box, words=asked, listed=listed, chosen=chosen, result=result, one=one, note=note,
        keep_note=keep_note, again=again, export=record, delete=delete, sure=sure,
    )  # fmt: skip


def wire_runs_section(
    section: RunsSection, workspace: Workspace, watched: list[Any], watch: Callable[[str], list[Update]]
) -> None:
    """What each press does. watched: what `watch` fills, the board of one run above the section."""
    looked = [section.words, section.chosen]

    def redraw(asked: str | None, chosen: list[str] | None) -> list[Update]:
        return draw(workspace, asked, chosen)

    def choose(chosen: list[str] | None) -> list[Update]:
        return show_chosen(workspace, chosen)

    def keep_note(asked: str, chosen: list[str] | None, note: str) -> list[Update]:
        run_records.write_note(workspace, _single(chosen), note)
        return redraw(asked, chosen)

    def again(chosen: list[str] | None) -> list[Update]:
        return watch(run_records.reproduce(workspace, _single(chosen)))

    def delete(asked: str, chosen: list[str] | None) -> list[Update]:
        train.remove(workspace, _single(chosen))
        return [gr.update(visible=False), *redraw(asked, None)]

    reads: dict[str, Any] = {"needs": Permission.WATCH}
    section.words.change(guarded(redraw, **reads), looked, section.drawn, **POLL)
    shown = [section.result, section.one, section.note]
    section.chosen.input(guarded(choose, **reads), section.chosen, shown, **POLL)
    section.keep_note.click(guarded(keep_note), [*looked, section.note], section.drawn, **SILENT)
    section.again.click(guarded(again), section.chosen, watched, **SILENT).then(
        guarded(redraw, **reads), looked, section.drawn, **POLL
    )
    section.export.wire(lambda chosen: export(workspace, chosen), [section.chosen])
    section.delete.click(
        guarded(lambda chosen: ask_to_delete(workspace, chosen)),
        section.chosen,
        [section.sure.box, section.sure.question],
        **POLL,
    )
    section.sure.no.click(lambda: gr.update(visible=False), None, section.sure.box, **POLL)
    section.sure.yes.click(guarded(delete), looked, [section.sure.box, *section.drawn], **SILENT)
