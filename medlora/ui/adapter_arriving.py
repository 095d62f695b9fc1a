"""The card that takes in an adapter from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services.adapter_import import Imported, import_adapter
from medlora.ui import present
from medlora.ui.blocks import actions, card, row, words
from medlora.ui.downloads import drop_upload
from medlora.workspace import Workspace

Update = Any


@dataclass(frozen=True)
class ArrivingCard:
    """The widgets of the card."""

    upload: gr.File
    name: gr.Textbox
    base: gr.Textbox
    take: gr.Button
    told: gr.HTML

    @property
    def asked(self) -> list[Any]:
        return [self.upload, self.name, self.base]


def take_in(workspace: Workspace, upload: str | None, name: str, base: str) -> Imported:
    """Check the uploaded archive and take it in; it is removed only once it is in the library.

    Raises: UserError with every problem.
    """
    if not upload:
        raise UserError("adapter: there is no file; choose a zip or tar first")
    path = Path(upload)
    done = import_adapter(workspace, path, name=name.strip() or None, base=base.strip() or None)
    drop_upload(path)
    return done


def show_imported(done: Imported) -> str:
    """What became of it, and what could not be checked."""
    notices = "".join(present.notice("amber", "Please note", notice) for notice in done.notices)
    return f'<p class="ml-done">{present.text(done.name)} is in the library.</p>{notices}'


def build_arriving_card() -> ArrivingCard:
    """Render the card."""
    with card():
        words(
            present.heading(
                "Bring one in",
                "From another medlora, or any LoRA of PEFT: safetensors alone, and only what fits its base "
                "model. Here it is a draft, whoever signed for it elsewhere.",
            )
        )
        with row():
            upload = gr.File(
                label="Zip or tar", file_types=[".zip", ".tar", ".gz", ".tgz"], height=150, scale=3,
                elem_classes="ml-drop", elem_id="import-file", min_width=260,
            )  # fmt: skip
            with gr.Column(scale=2, min_width=260):
                name = gr.Textbox(label="Name here", placeholder="as the file is called", max_length=64)
                base = gr.Textbox(
                    label="Base model", placeholder="as its files say", max_length=300,
                    info="Only where its files do not name it.",
                )  # fmt: skip
        with actions():
            take = gr.Button("Check and import", elem_id="import-start")
        told = words(elem_id="import-told")
    return ArrivingCard(upload, name, base, take, told)
