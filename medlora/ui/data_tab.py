"""The Data tab: a file comes in, is looked at line by line, and becomes a dataset when the user agrees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.services import data
from medlora.services.tables import is_table
from medlora.ui import present
from medlora.ui.blocks import actions, card, row, words
from medlora.ui.columns_card import ColumnsCard, build_columns_card, draw_columns, hide_columns, read_rows
from medlora.ui.data_report import LONGEST_NAME, Progress, check_new, check_stored, show_record
from medlora.ui.dataset_adding import PHI_CHOICES, forget_upload, make_rejects, store_upload
from medlora.ui.dataset_removal import Removal, Shown, ask_before_removal, open_question, remove_shown
from medlora.ui.downloads import Download, download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.keeping_card import KeepingCard, ask, build_keeping_card, delete_due, keep
from medlora.workspace import Workspace

NO_DATASET = present.empty("No dataset yet", "Drop a file on the left, or start with the sample.")
SHAPES = (
    "A table with a column of questions and one of answers (CSV, Excel), or one JSON object a line: "
    "instruction/response, instruction/input/output, prompt/completion, question/answer, messages, "
    "conversations."
)
UPLOADS = [".jsonl", ".csv", ".tsv", ".xlsx"]
Update = Any


@dataclass(frozen=True)
class DataTab:
    """The widgets of the tab."""

    upload: gr.File
    columns: ColumnsCard
    keeping: KeepingCard
    sample: gr.Button
    none_stored: gr.HTML
    stored: gr.Radio
    report: gr.Column
    title: gr.HTML
    figures: gr.HTML
    skip_bad: gr.Checkbox
    phi: gr.Radio
    name: gr.Textbox
    add: gr.Button
    next: gr.Button
    rejects: Download
    remove: gr.Button
    sure: Removal
    problems: gr.HTML
    lengths: gr.HTML
    record: gr.Number
    preview: gr.HTML
    shown: gr.State

    @property
    def drawn(self) -> list[Any]:
        """What a report redraws, in the order of `draw_report`."""
        consent = [self.skip_bad, self.phi, self.name, self.add, self.next, self.rejects.button, self.remove]
        views = [self.problems, self.lengths, self.record, self.preview]
        return [self.shown, self.report, self.title, self.figures, *consent, *views]


# Handlers: plain values in, updates out.


def stored_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Every stored dataset: (what people read, name)."""
    cards = data.list_datasets(workspace)
    return [(f"{item.title} · {present.count(item.usable, 'row')}", item.name) for item in cards]


def draw_stored(workspace: Workspace, chosen: str | None) -> list[Update]:
    """The list of datasets, or what to do while there is none."""
    choices = stored_choices(workspace)
    value = chosen if chosen in [key for _, key in choices] else None
    return [gr.update(visible=not choices), gr.update(choices=choices, value=value, visible=bool(choices))]


# Layout and wiring


def build_data_tab() -> DataTab:
    """Render the tab's widgets."""
    words(
        present.lead(
            "Data", "A dataset holds examples: each a question with the answer you would want given."
        )
    )
    with row():
        with card(scale=3):
            words(present.heading("Add a dataset", SHAPES))
            upload = gr.File(
                label="Drop a .jsonl, .csv or .xlsx file", file_types=UPLOADS, height=160,
                elem_id="data-upload", elem_classes="ml-drop",
            )  # fmt: skip
            with actions():
                sample = gr.Button("Use the sample dataset", variant="primary", elem_id="data-sample")
        with card(scale=2):
            words(present.heading("Your datasets"))
            none_stored = words(NO_DATASET)
            stored = gr.Radio([], show_label=False, label="Datasets", visible=False, elem_id="data-stored")
            keeping = build_keeping_card()
    columns = build_columns_card()
    with gr.Column(visible=False, elem_classes="ml-report") as report:
        with card():
            title = words(elem_id="data-title")
            figures = words(elem_id="data-figures")
            skip_bad = gr.Checkbox(label="Leave out the bad rows", visible=False, elem_id="data-skip")
            phi = gr.Radio(
                PHI_CHOICES, label="Some rows may identify a person", visible=False, elem_id="data-phi",
                info="Training waits until you decide. Your choice is kept with the dataset.",
            )  # fmt: skip
            name = gr.Textbox(label="Name", max_length=LONGEST_NAME, visible=False, elem_id="data-name")
            with actions():
                add = gr.Button("Add dataset", variant="primary", visible=False, elem_id="data-add")
                next_tab = gr.Button(
                    "Continue to Configure", variant="primary", visible=False, elem_id="data-next"
                )
                rejects = download("Download what is not used", "data-rejects", visible=False)
                remove = gr.Button("Remove", elem_classes="ml-danger", elem_id="data-remove")
            sure = ask_before_removal()
            problems = words(elem_id="data-problems")
        with row():
            with card(scale=3):
                words(present.heading("What the model sees"))
                record = gr.Number(1, label="Record", precision=0, minimum=1, elem_id="data-record")
                preview = words(elem_id="data-preview")
            with card(scale=2):
                words(present.heading("Lengths"))
                lengths = words(elem_id="data-lengths")
    return DataTab(
        upload=upload, keeping=keeping, columns=columns, sample=sample, none_stored=none_stored,
        stored=stored, report=report, title=title, figures=figures, skip_bad=skip_bad, phi=phi, name=name,
        add=add, next=next_tab, rejects=rejects, remove=remove, sure=sure, problems=problems, lengths=lengths,
        record=record, preview=preview, shown=gr.State(None),
    )  # fmt: skip


def _told(progress: gr.Progress) -> Progress:
    return lambda share: progress(share, desc="Reading every line")


def _close_report(tab: DataTab) -> list[Update]:
    return [None, gr.update(visible=False), *[gr.skip()] * (len(tab.drawn) - 2)]


def _wire_columns(tab: DataTab, workspace: Workspace) -> None:
    """From a table to the rows that are then checked like any other."""
    asked = tab.columns

    def read(*said: Any, progress: gr.Progress = gr.Progress()) -> list[Update]:  # noqa: B008
        table, sheet, header, *roles = said
        path, title = read_rows(table, sheet, header, tuple(roles), _told(progress))
        return check_new(workspace, path, _told(progress), Path(table), title)

    def forget(table: str | None, shown: Shown | None) -> list[Update]:
        forget_upload(shown, table)
        return [*hide_columns(asked), *_close_report(tab)]

    def look(table: str, sheet: str | None, header: float | None = None) -> list[Update]:
        return draw_columns(Path(table), sheet, header)

    asked.sheet.input(guarded(look), [asked.table, asked.sheet], asked.drawn, **SILENT)
    asked.header.input(
        guarded(look), [asked.table, asked.sheet, asked.header], asked.drawn,
        trigger_mode="always_last", **SILENT,
    )  # fmt: skip
    asked.use.click(guarded(read), asked.asked, tab.drawn, show_progress_on=asked.use, **SILENT)
    asked.forget.click(guarded(forget), [asked.table, tab.shown], [*asked.drawn, *tab.drawn], **SILENT)


def _wire_keeping(tab: DataTab, workspace: Workspace) -> None:
    """How long data is kept; what was deleted is gone from the list beside it."""
    card = tab.keeping
    box = card.confirm
    card.days.input(guarded(lambda days: keep(workspace, days)), card.days, card.drawn, **SILENT)
    card.delete.click(guarded(lambda: ask(workspace)), None, [box.box, box.question], **POLL)
    box.no.click(lambda: gr.update(visible=False), None, box.box, **POLL)
    box.yes.click(
        guarded(lambda chosen: [*delete_due(workspace), *draw_stored(workspace, chosen)]),
        tab.stored, [box.box, *card.drawn, tab.none_stored, tab.stored], **SILENT,
    )  # fmt: skip


def wire_data_tab(tab: DataTab, workspace: Workspace) -> None:
    """What each press does."""
    listed, asked = [tab.none_stored, tab.stored], tab.columns

    def take(
        path: str | None,
        table: str | None,
        shown: Shown | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Update]:
        if path is None:
            return [gr.skip()] * (1 + len(asked.drawn) + len(tab.drawn))
        seen = look(Path(path), progress)
        forget_upload(shown, table, keep=Path(path))
        return [None, *seen]

    def look(path: Path, progress: gr.Progress) -> list[Update]:
        if is_table(path):
            return [*draw_columns(path), *_close_report(tab)]
        return [*hide_columns(asked), *check_new(workspace, path, _told(progress))]

    def use_sample(progress: gr.Progress = gr.Progress()) -> list[Update]:  # noqa: B008
        made = data.use_sample(workspace)
        return [*draw_stored(workspace, made.name), *check_stored(workspace, made.name, _told(progress))]

    def choose(name: str | None, progress: gr.Progress = gr.Progress()) -> list[Update]:  # noqa: B008
        return check_stored(workspace, name, _told(progress)) if name else [gr.skip()] * len(tab.drawn)

    def add(shown: Shown | None, skip_bad: bool, phi: str | None, name: str) -> list[Update]:
        made = store_upload(workspace, shown, skip_bad, phi, name)
        seen = check_stored(workspace, made.name, lambda share: None)
        return [*draw_stored(workspace, made.name), *hide_columns(asked), *seen]

    def remove(shown: Shown | None, everything: bool) -> list[Update]:
        remove_shown(workspace, shown, everything)
        hidden = gr.update(visible=False)
        return [*draw_stored(workspace, None), *hide_columns(asked), None, hidden, hidden]

    tab.upload.upload(
        guarded(take),
        [tab.upload, asked.table, tab.shown],
        [tab.upload, *asked.drawn, *tab.drawn],
        show_progress_on=tab.upload,
        **SILENT,
    )
    _wire_columns(tab, workspace)
    _wire_keeping(tab, workspace)
    tab.sample.click(guarded(use_sample), None, [*listed, *tab.drawn], show_progress_on=tab.stored, **SILENT)
    tab.stored.input(
        guarded(choose, needs=Permission.WATCH), tab.stored, tab.drawn, show_progress_on=tab.stored, **SILENT
    )
    tab.add.click(
        guarded(add), [tab.shown, tab.skip_bad, tab.phi, tab.name], [*listed, *asked.drawn, *tab.drawn],
        show_progress_on=tab.add, **SILENT,
    )  # fmt: skip
    tab.rejects.wire(lambda shown: make_rejects(workspace, shown), [tab.shown])
    tab.remove.click(guarded(open_question), tab.shown, tab.sure.asked, **POLL)
    tab.sure.confirm.no.click(lambda: gr.update(visible=False), None, tab.sure.box, **POLL)
    tab.sure.confirm.yes.click(
        guarded(remove),
        [tab.shown, tab.sure.everything],
        [*listed, *asked.drawn, tab.shown, tab.report, tab.sure.box],
        **SILENT,
    )
    see_record = guarded(lambda shown, at: show_record(workspace, shown, at), needs=Permission.WATCH)
    tab.record.change(
        see_record, [tab.shown, tab.record], tab.preview,
        trigger_mode="always_last", **POLL,
    )  # fmt: skip
