"""The card of the ways out: a zip, a merged model, Ollama's file, the Hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import adapter_export, adapters
from medlora.services.adapter_export import MergeView
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, words
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

_MERGING = (
    '<p class="ml-small">The adapter is added into the 16-bit weights of its base, for programs that take no '
    "adapters. The result is asked the same questions, to see that it answers alike.</p>"
)
Update = Any


@dataclass(frozen=True)
class LeavingCard:
    """The widgets of the card."""

    export: Download
    modelfile: Download
    merge: gr.Button
    stop: gr.Button
    merged: gr.HTML
    fetch: Download
    repository: gr.Textbox
    public: gr.Checkbox
    push: gr.Button
    sure: Confirmation
    pushed: gr.HTML
    seen: gr.State

    @property
    def drawn(self) -> list[Any]:
        """What a look at the disk redraws."""
        return [self.merge, self.stop, self.merged, self.fetch.button, self.seen]


# Handlers


def export(workspace: Workspace, name: str | None) -> Path:
    """The adapter's zip, where the page may hand it out."""
    made = adapters.export_zip(workspace, _chosen(name))
    handed = new_download(made.name)
    shutil.move(made, handed)
    shutil.rmtree(made.parent, ignore_errors=True)
    return handed


def make_modelfile(workspace: Workspace, name: str | None) -> Path:
    """Ollama's file for the adapter on its base model."""
    path = new_download("Modelfile")
    card_of = adapters.show(workspace, _chosen(name))
    path.write_text(adapter_export.write_modelfile(card_of, merged=False), encoding="utf-8")
    return path


def start_merge(workspace: Workspace, name: str | None) -> None:
    """Start a merge. Raises: UserError with what hinders."""
    adapter_export.start_merge(workspace, _chosen(name))


def stop_merge(workspace: Workspace) -> None:
    """Stop whatever is being merged."""
    for item in adapter_export.list_merges(workspace):
        if item.going:
            adapter_export.stop_merge(workspace, item.id)


def fetch_merged(workspace: Workspace, name: str | None) -> Path:
    """The merged model as a zip, where the page may hand it out."""
    target = new_download(f"{_chosen(name)}-merged.zip")
    return adapter_export.zip_merged(workspace, _chosen(name), target)


def watch(workspace: Workspace, name: str | None, seen: Sequence[str]) -> list[Update] | None:
    """The merge as it is now; None when nothing has changed."""
    views = adapter_export.list_merges(workspace)
    going = next((item for item in views if item.going), None)
    latest = going or next((item for item in views if item.adapter == name), None)
    mark = repr((name, latest and (latest.id, latest.status, latest.detail, latest.fraction)))
    if mark == seen:
        return None
    done = latest is not None and latest.status == "completed"
    return [
        gr.update(interactive=going is None),
        gr.update(visible=going is not None),
        show_merge(latest) if latest else "",
        gr.update(visible=done),
        mark,
    ]


def show_merge(item: MergeView) -> str:
    """How far a merge is, or what came of it."""
    if item.going:
        return present.progress(item.fraction, f"Merging {item.adapter}: {item.detail or 'starting'}")
    if item.status != "completed":
        return present.notice(
            "amber", "It was not merged", item.reason or "Its process ended without a word."
        )
    found = item.result
    same = f"{100 * found.get('same_next_token', 0):.0f} %"
    agreed = (
        f"Asked the same questions, it finds the same next word in {same} of "
        f"{found.get('compared_tokens', 0)} places as the adapter on its base."
    )
    place = f"Folder: {item.folder}\nOllama: ollama create {item.adapter} -f Modelfile, in that folder."
    return present.notice("info", "Merged into its base model, in bfloat16", f"{agreed}\n{place}")


def ask_to_push(name: str | None, repository: str, public: bool) -> list[Update]:
    """The question before an adapter leaves this machine."""
    seen = "everyone can see it" if public else "those you allow can see it"
    question = (
        f"<p>Send <strong>{present.text(_chosen(name))}</strong> to "
        f"<strong>{present.text(repository.strip() or 'no repository yet')}</strong>, where {seen}? "
        "It leaves this machine, with whatever it learned by heart.</p>"
    )
    return [gr.update(visible=True), question]


def push(workspace: Workspace, name: str | None, repository: str, public: bool) -> list[Update]:
    """Put the adapter on the Hub; its address there."""
    address = adapter_export.push(workspace, _chosen(name), repository.strip(), private=not public)
    told = f'<p class="ml-done">It is at {present.text(address)}</p>'
    return [gr.update(visible=False), told]


def _chosen(name: str | None) -> str:
    if not name:
        raise UserError("adapter: none is chosen; choose one above")
    return name


# Layout and wiring


def build_leaving_card() -> LeavingCard:
    """Render the card."""
    with card():
        words(present.heading("Take it elsewhere", "With its provenance, tokenizer and safety settings."))
        with actions():
            zipped = download("Download as zip", "adapters-export")
            modelfile = download("Ollama Modelfile", "adapters-modelfile")
        with gr.Accordion(
            "The whole model, merged", open=False, elem_classes="ml-group", elem_id="merge-box"
        ):
            words(_MERGING)
            with actions():
                merge = gr.Button("Merge", elem_id="merge-start")
                stop = gr.Button("Stop", visible=False, elem_id="merge-stop")
                fetch = download("Download merged model", "merge-fetch", visible=False)
            merged = words(elem_id="merge-state")
        with gr.Accordion("The Hugging Face Hub", open=False, elem_classes="ml-group", elem_id="push-box"):
            repository = gr.Textbox(
                label="Repository",
                placeholder="owner/name",
                info="HF_TOKEN must be set and allow writing it.",
                max_length=200,
                elem_id="push-repository",
            )
            public = gr.Checkbox(label="Everyone may see it", elem_id="push-public")
            with actions():
                send = gr.Button("Push to the Hub", elem_id="push-start")
            sure = confirmation("Send it", "Keep it here", "push-sure")
            pushed = words(elem_id="push-done")
    return LeavingCard(
        zipped, modelfile, merge, stop, merged, fetch, repository, public, send, sure, pushed, gr.State("")
    )


def wire_leaving_card(part: LeavingCard, chosen: gr.Dropdown, workspace: Workspace, timer: gr.Timer) -> None:
    """What each press does, and what a look at the disk redraws."""

    def look(name: str | None, seen: str) -> list[Update]:
        return watch(workspace, name, seen) or [gr.skip()] * len(part.drawn)

    sight: dict[str, Any] = {"inputs": [chosen, part.seen], "outputs": part.drawn, **POLL}
    part.export.wire(lambda name: export(workspace, name), [chosen])
    part.modelfile.wire(lambda name: make_modelfile(workspace, name), [chosen])
    part.fetch.wire(lambda name: fetch_merged(workspace, name), [chosen])
    part.merge.click(guarded(lambda name: start_merge(workspace, name)), chosen, None, **SILENT).then(
        guarded(look), **sight
    )
    part.stop.click(guarded(lambda: stop_merge(workspace)), None, None, **SILENT).then(guarded(look), **sight)
    chosen.change(guarded(look), **sight)
    timer.tick(guarded(look, quiet=True), **sight)
    asked = [chosen, part.repository, part.public]
    part.push.click(guarded(ask_to_push), asked, [part.sure.box, part.sure.question], **POLL)
    part.sure.no.click(lambda: gr.update(visible=False), None, part.sure.box, **POLL)
    part.sure.yes.click(
        guarded(lambda *values: push(workspace, *values)), asked, [part.sure.box, part.pushed], **SILENT
    )
