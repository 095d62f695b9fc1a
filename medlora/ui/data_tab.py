"""The Data tab: a file comes in, is looked at line by line, and becomes a dataset when the user agrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.dataset.check import CheckReport
from medlora.dataset.store import DatasetCard, PhiChoice
from medlora.errors import UserError
from medlora.services import data
from medlora.ui import dataset_view, present
from medlora.ui.blocks import actions, card, row, words
from medlora.ui.dataset_removal import Removal, Shown, ask_before_removal, open_question, remove_shown
from medlora.ui.downloads import Download, download, drop_upload, new_download
from medlora.ui.draft import draft_config
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

NO_DATASET = present.empty("No dataset yet", "Drop a file on the left, or start with the sample.")
SHAPES = (
    "One JSON object a line. Known without asking: instruction/response, instruction/input/output, "
    "prompt/completion, question/answer, messages and conversations."
)
PHI_CHOICES = [
    ("I have the right to use it as it is", "rights"),
    ("Redact what was found", "redact"),
]
Update = Any
Progress = Callable[[float], None]


@dataclass(frozen=True)
class DataTab:
    """The widgets of the tab."""

    upload: gr.File
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


def draw_report(workspace: Workspace, shown: Shown, report: CheckReport, settled: bool) -> list[Update]:
    """A checked file or dataset, and what may be done with it."""
    upload, bad = shown.is_upload, len(report.errors)
    config = draft_config(workspace)
    limit = config.data.max_seq_length if config is not None else None
    return [
        shown,
        gr.update(visible=True),
        present.heading(
            shown.title, "Checked, not stored yet." if upload else f"SHA-256 {report.sha256[:16]}…"
        ),
        dataset_view.show_figures(report),
        gr.update(visible=upload and bad > 0 and report.usable > 0, label=_skip_label(bad), value=False),
        gr.update(visible=report.phi_rows > 0 and not settled, value=None),
        gr.update(visible=upload and report.usable > 0, value=Path(shown.title).stem if upload else ""),
        gr.update(
            visible=(upload or not settled) and report.usable > 0,
            value="Add dataset" if upload else "Confirm",
        ),
        gr.update(visible=not upload and settled),
        gr.update(visible=bool(report.problems)),
        gr.update(visible=True, value="Forget this file" if upload else "Remove"),
        dataset_view.show_problems(report),
        dataset_view.show_lengths(report.tokens, limit),
        gr.update(value=1, maximum=max(report.usable, 1)),
        show_record(workspace, shown, 1),
    ]


def _skip_label(bad: int) -> str:
    return f"Leave out {present.count(bad, 'bad row')} and use the rest"


def show_record(workspace: Workspace, shown: Shown | None, number: float | None) -> str:
    """One usable record as the model sees it."""
    if shown is None or not shown.usable:
        return present.empty(
            "No usable record", "Mend the problems above; then the model's view is shown here."
        )
    at = min(max(int(number or 1), 1), shown.usable)
    seen = data.preview(workspace, shown.source, at, draft_config(workspace))
    facts = [f"line {seen.line}"]
    if seen.tokens is not None:
        facts.append(present.count(seen.tokens, "token"))
    if seen.truncated:
        facts.append("cut to the longest sequence")
    return present.pills(facts) + dataset_view.show_trained(seen.segments, seen.notices)


def check_new(workspace: Workspace, path: Path, progress: Progress) -> list[Update]:
    """Look at an uploaded file."""
    report = data.check_upload(workspace, path, draft_config(workspace), progress)
    shown = Shown(path, path.name, report.usable)
    return draw_report(workspace, shown, report, settled=report.phi_rows == 0)


def check_stored(workspace: Workspace, name: str, progress: Progress) -> list[Update]:
    """Look at a stored dataset again, under the present configuration."""
    item = data.show_dataset(workspace, name)
    report = data.check_dataset(workspace, name, draft_config(workspace), progress)
    return draw_report(workspace, Shown(name, item.title, report.usable), report, settled=item.phi_settled)


def store_upload(
    workspace: Workspace, shown: Shown | None, skip_bad: bool, phi: str | None, name: str
) -> DatasetCard:
    """Add the uploaded file, or settle what a stored dataset still waits for.

    Raises: UserError when the user has not agreed to what needs agreement.
    """
    if shown is None:
        raise UserError("dataset: there is no file to add; upload one first")
    if isinstance(shown.source, str):
        if phi is None:
            raise UserError("personal data: say that you may use it, or remove the dataset")
        return data.settle_phi(workspace, shown.source, account_name() or None)
    choice: PhiChoice | None = "redact" if phi == "redact" else "rights" if phi == "rights" else None
    report = data.check_upload(workspace, shown.source, draft_config(workspace))
    if report.phi_rows and choice is None:
        raise UserError(
            f"personal data: {present.count(report.phi_rows, 'row')} may identify a person; "
            "say that you may use it, or have it redacted"
        )
    options = data.AddOptions(
        name=name.strip() or None,
        skip_bad_rows=skip_bad,
        phi=choice,
        keep_original=False,
        by=account_name() or None,
    )
    made = data.add_dataset(workspace, shown.source, options, draft_config(workspace))
    drop_upload(shown.source)
    return made


def make_rejects(workspace: Workspace, shown: Shown | None) -> Path:
    """Every row that is not used, with its line and the reason, as a file."""
    if shown is None:
        raise UserError("rejects: there is no file; upload one first")
    target = new_download("rejects.jsonl")
    return data.write_rejects(workspace, shown.source, draft_config(workspace), target)


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
                label="Drop a .jsonl file", file_types=[".jsonl"], height=160, elem_id="data-upload",
                elem_classes="ml-drop",
            )  # fmt: skip
            with actions():
                sample = gr.Button("Use the sample dataset", variant="primary", elem_id="data-sample")
        with card(scale=2):
            words(present.heading("Your datasets"))
            none_stored = words(NO_DATASET)
            stored = gr.Radio([], show_label=False, label="Datasets", visible=False, elem_id="data-stored")
    with gr.Column(visible=False, elem_classes="ml-report") as report:
        with card():
            title = words(elem_id="data-title")
            figures = words(elem_id="data-figures")
            skip_bad = gr.Checkbox(label="Leave out the bad rows", visible=False, elem_id="data-skip")
            phi = gr.Radio(
                PHI_CHOICES, label="Some rows may identify a person", visible=False, elem_id="data-phi",
                info="Training waits until you decide. Your choice is kept with the dataset.",
            )  # fmt: skip
            name = gr.Textbox(label="Name", max_length=48, visible=False, elem_id="data-name")
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
        upload=upload, sample=sample, none_stored=none_stored, stored=stored, report=report, title=title,
        figures=figures, skip_bad=skip_bad, phi=phi, name=name, add=add, next=next_tab, rejects=rejects,
        remove=remove, sure=sure, problems=problems, lengths=lengths, record=record, preview=preview,
        shown=gr.State(None),
    )  # fmt: skip


def wire_data_tab(tab: DataTab, workspace: Workspace) -> None:
    """What each press does."""
    listed = [tab.none_stored, tab.stored]

    def told(progress: gr.Progress) -> Progress:
        return lambda share: progress(share, desc="Reading every line")

    def take(path: str | None, progress: gr.Progress = gr.Progress()) -> list[Update]:  # noqa: B008
        if path is None:
            return [gr.skip()] * (1 + len(tab.drawn))
        return [None, *check_new(workspace, Path(path), told(progress))]

    def use_sample(progress: gr.Progress = gr.Progress()) -> list[Update]:  # noqa: B008
        made = data.use_sample(workspace)
        return [*draw_stored(workspace, made.name), *check_stored(workspace, made.name, told(progress))]

    def choose(name: str | None, progress: gr.Progress = gr.Progress()) -> list[Update]:  # noqa: B008
        return check_stored(workspace, name, told(progress)) if name else [gr.skip()] * len(tab.drawn)

    def add(shown: Shown | None, skip_bad: bool, phi: str | None, name: str) -> list[Update]:
        made = store_upload(workspace, shown, skip_bad, phi, name)
        return [*draw_stored(workspace, made.name), *check_stored(workspace, made.name, lambda share: None)]

    def remove(shown: Shown | None, everything: bool) -> list[Update]:
        remove_shown(workspace, shown, everything)
        hidden = gr.update(visible=False)
        return [*draw_stored(workspace, None), None, hidden, hidden]

    tab.upload.upload(
        guarded(take), tab.upload, [tab.upload, *tab.drawn], show_progress_on=tab.upload, **SILENT
    )
    tab.sample.click(guarded(use_sample), None, [*listed, *tab.drawn], show_progress_on=tab.stored, **SILENT)
    tab.stored.input(
        guarded(choose, needs=Permission.WATCH), tab.stored, tab.drawn, show_progress_on=tab.stored, **SILENT
    )
    tab.add.click(
        guarded(add), [tab.shown, tab.skip_bad, tab.phi, tab.name], [*listed, *tab.drawn],
        show_progress_on=tab.add, **SILENT,
    )  # fmt: skip
    tab.rejects.wire(lambda shown: make_rejects(workspace, shown), [tab.shown])
    tab.remove.click(guarded(open_question), tab.shown, tab.sure.asked, **POLL)
    tab.sure.confirm.no.click(lambda: gr.update(visible=False), None, tab.sure.confirm.box, **POLL)
    tab.sure.confirm.yes.click(
        guarded(remove),
        [tab.shown, tab.sure.everything],
        [*listed, tab.shown, tab.report, tab.sure.confirm.box],
        **SILENT,
    )
    see_record = guarded(lambda shown, at: show_record(workspace, shown, at), needs=Permission.WATCH)
    tab.record.change(
        see_record, [tab.shown, tab.record], tab.preview,
        trigger_mode="always_last", **POLL,
    )  # fmt: skip
