"""Labelled messages on the Safety tab: score them, keep them at hand, forget them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import labelled, safety
from medlora.ui import present
from medlora.ui.blocks import actions, card, words
from medlora.ui.downloads import Download, download, drop_upload, new_download
from medlora.ui.draft import policy_settings
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.score_view import show_score
from medlora.workspace import Workspace

Update = Any


@dataclass(frozen=True)
class ScoreCard:
    """The widgets of the card."""

    upload: gr.File
    own: gr.Button
    shipped: gr.Button
    forget: gr.Button
    export: Download
    scored: gr.HTML

    @property
    def buttons(self) -> list[Any]:
        """What shows only while there is a set of the user's own."""
        return [self.own, self.forget]


# Handlers


def open_card(workspace: Workspace) -> list[Update]:
    """Which buttons there are: some only for a set of the user's own."""
    shown = labelled.own_labelled(workspace) is not None
    return [gr.update(visible=shown), gr.update(visible=shown)]


def score_own(workspace: Workspace) -> str:
    """The figures over the user's own set."""
    path = labelled.own_labelled(workspace)
    if path is None:
        raise UserError("labelled messages: there are none of your own yet; add a file")
    return score(workspace, path, "Your labelled set")


def score_shipped(workspace: Workspace) -> str:
    """The figures over the shipped set, said to be no evidence."""
    return score(workspace, labelled.labelled_path(), "The shipped set, written by who wrote the rules")


def score(workspace: Workspace, path: Path, name: str) -> str:
    """The figures over a labelled file, under the configuration being written."""
    return show_score(safety.score_file(workspace, path, policy_settings(workspace)), name)


def add(workspace: Workspace, path: Path) -> str:
    """Keep a file as the user's own set, and score it. The upload itself goes."""
    try:
        labelled.keep_labelled(workspace, path)
    finally:
        drop_upload(path)
    return score_own(workspace)


def export_shipped() -> Path:
    """The shipped set as a file to start from."""
    path = new_download("labelled-messages.jsonl")
    shutil.copyfile(labelled.labelled_path(), path)
    return path


# Layout and wiring


def build_score_card() -> ScoreCard:
    """Render the card's widgets."""
    with card():
        words(
            present.heading(
                "Score labelled messages",
                'JSONL, one message a line: {"text": "…", "label": "defer"}. It is kept on this machine '
                "until you remove it, and the keywords above are tried on it.",
            )
        )
        upload = gr.File(
            label="Labelled messages", file_types=[".jsonl"], height=120, elem_classes="ml-drop",
            elem_id="safety-file",
        )  # fmt: skip
        with actions():
            own = gr.Button("Score my messages", visible=False, elem_id="safety-score-own")
            shipped = gr.Button("Score the shipped set", elem_id="safety-score-shipped")
            export = download("Download the shipped set", "safety-export", elem_classes="ml-quiet")
            forget = gr.Button(
                "Remove my messages", visible=False, elem_classes="ml-quiet", elem_id="safety-forget"
            )
        scored = words(elem_id="safety-scored")
    return ScoreCard(upload, own, shipped, forget, export, scored)


def wire_score_card(tab: ScoreCard, workspace: Workspace) -> None:
    """What each press does."""

    def take(path: str | None) -> list[Update]:
        if path is None:
            return [gr.skip()] * 4
        told = add(workspace, Path(path))
        return [None, told, *open_card(workspace)]

    def forget() -> list[Update]:
        labelled.forget_labelled(workspace)
        gone = present.notice("info", "Your labelled messages were removed", "The shipped set is used again.")
        return [gone, *open_card(workspace)]

    tab.upload.upload(guarded(take), tab.upload, [tab.upload, tab.scored, *tab.buttons], **SILENT)
    tab.own.click(guarded(lambda: score_own(workspace)), None, tab.scored, **SILENT)
    tab.shipped.click(guarded(lambda: score_shipped(workspace)), None, tab.scored, **SILENT)
    tab.forget.click(guarded(forget), None, [tab.scored, *tab.buttons], **POLL)
    tab.export.wire(export_shipped, [])
