"""What the Data tab shows, and the question before it is gone: alone, or with all that was made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.services import data, erasure, tables
from medlora.ui import present
from medlora.ui.blocks import Confirmation, confirmation
from medlora.ui.downloads import drop_upload
from medlora.workspace import Workspace


@dataclass(frozen=True)
class Shown:
    """What the report is about: an uploaded file that is not added yet, or a stored dataset's name.

    table: the CSV file or workbook that an upload was converted from. columns: in words, which of its columns
    a stored dataset came from.
    """

    source: Path | str
    title: str
    usable: int
    table: Path | None = None
    columns: str = ""

    @property
    def is_upload(self) -> bool:
        return isinstance(self.source, Path)

    def drop_files(self, keep: Path | None = None) -> None:
        """Remove what an upload left on the disk; `keep` is the same file, uploaded again."""
        if isinstance(self.source, Path):
            if self.table is not None:
                tables.drop_converted(self.source)
            if keep != (self.table or self.source):
                drop_upload(self.table or self.source)


@dataclass(frozen=True)
class Removal:
    """The question with its box to tick."""

    box: gr.Column
    confirm: Confirmation
    everything: gr.Checkbox

    @property
    def asked(self) -> list[Any]:
        return [self.box, self.confirm.question, self.everything]


def ask_before_removal() -> Removal:
    """Render the question, closed."""
    with gr.Column(visible=False, elem_classes="ml-confirm") as box:
        confirm = confirmation("Remove for good", "Keep it", "data-sure", visible=True)
        everything = gr.Checkbox(
            label="Also delete its runs, its adapters and every copy of its rows", elem_id="data-everything"
        )
    return Removal(box, confirm, everything)


def open_question(shown: Shown | None) -> list[Any]:
    """The question about what is shown; an upload has nothing made from it yet."""
    title = present.text(shown.title if shown else "")
    upload = shown is None or shown.is_upload
    rest = "" if upload else " Runs and adapters stay, unless you tick the box."
    question = f"<p>Remove <strong>{title}</strong> from this machine?{rest}</p>"
    return [gr.update(visible=True), question, gr.update(value=False, visible=not upload)]


def remove_shown(workspace: Workspace, shown: Shown | None, everything: bool = False) -> None:
    """Delete the stored dataset, on request with all that was made from it, or forget the upload."""
    if shown is None:
        return
    if isinstance(shown.source, Path):
        shown.drop_files()
    elif everything:
        erasure.erase_dataset(workspace, shown.source)
    else:
        data.remove_dataset(workspace, shown.source)
