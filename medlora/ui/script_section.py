"""Test scripts on the page: write one, let it run, judge the answers one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.errors import NotFoundError, UserError
from medlora.services import script_files, scripts
from medlora.services.scripts import Script, ScriptRunner, ScriptState
from medlora.services.served_seats import name_seat
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, pick, row, words
from medlora.ui.chat_speakers import chat_speakers
from medlora.ui.compare_section import seat_of
from medlora.ui.downloads import Download, download, drop_upload, new_download
from medlora.ui.events import POLL, SILENT, current_caller, for_ratings, guarded
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

NO_SCRIPT = present.empty(
    "No test script yet", "Write the questions you will judge by, before you look at any answer."
)
_STATUS_WORDS = {
    "new": "Not run yet", "running": "Running", "stopping": "Stopping", "interrupted": "Was interrupted",
    "stopped": "Stopped", "failed": "Broke off", "complete": "All answered",
}  # fmt: skip
Update = Any


@dataclass(frozen=True)
class NewScript:
    """The widgets in which a script is written; only who may run one sees them."""

    box: gr.Column
    name: gr.Textbox
    prompts: gr.Textbox
    file: gr.UploadButton
    speakers: gr.Dropdown
    make: gr.Button


@dataclass(frozen=True)
class ScriptSection:
    """The widgets of the section, the judging apart."""

    new: NewScript
    box: gr.Column
    chosen: gr.Dropdown
    progress: gr.HTML
    run: gr.Button
    stop: gr.Button
    owned: gr.Row
    share: Download
    share_prompts: Download
    delete: gr.Button
    sure: Confirmation
    seen: gr.State

    @property
    def drawn(self) -> list[Any]:
        """What the state of the chosen script decides."""
        return [self.new.box, self.owned, self.box, self.chosen, *self.watched]

    @property
    def watched(self) -> list[Any]:
        return [self.progress, self.run, self.stop, self.seen]


# Handlers


def draw(workspace: Workspace, chosen: str | None) -> list[Update]:
    """The scripts and the state of the chosen one."""
    states = scripts.list_scripts(workspace)
    choices = [(_title(state), state.script.script_id) for state in states]
    which = pick(choices, chosen)
    may = _may_run()
    shown = [gr.update(visible=may), gr.update(visible=may and bool(states)), gr.update(visible=bool(states))]
    if which["value"] is None:
        return [*shown, which, NO_SCRIPT, gr.update(visible=False), gr.update(visible=False), ""]
    return [*shown, which, *watch(workspace, which["value"], "")]


def _may_run() -> bool:
    """Testers judge what an admin lets run."""
    caller = current_caller()
    return caller is not None and caller.may(Permission.MANAGE)


def watch(workspace: Workspace, chosen: str | None, seen: str) -> list[Update]:
    """The chosen script's state, if it changed since it was seen."""
    if not chosen:
        return [gr.skip()] * 4
    try:
        state = scripts.read_state(workspace, chosen)
    except NotFoundError:
        return [gr.skip()] * 4
    now = f"{chosen} {state.status} {state.done} {state.script.problem}"
    if now == seen:
        return [gr.skip()] * 4
    label = {"new": "Run in the background"}.get(state.status, "Go on")
    may = _may_run()
    can_run = may and not state.going and state.status != "complete"
    return [
        show_progress(state),
        gr.update(visible=can_run, value=label),
        gr.update(visible=may and state.going, interactive=state.status == "running"),
        now,
    ]


def _title(state: ScriptState) -> str:
    return f"{state.script.name} ({present.count(state.total, 'prompt')}, {state.script.created[:10]})"


def show_progress(state: ScriptState) -> str:
    """How far a script is, and what to do."""
    label = f"{_STATUS_WORDS[state.status]}: {state.done} of {present.count(state.total, 'prompt')} answered"
    if state.going:
        label += ". It is safe to close this tab."
    bar = present.progress(state.done / state.total, label)
    names = present.pills(name_seat(seat) for seat in state.script.seats)
    problem = (
        present.notice("amber", "It broke off", state.script.problem) if state.status == "failed" else ""
    )
    return f"{bar}{names}{problem}"


def make_script(workspace: Workspace, name: str, prompts: str, speakers: Sequence[str] | None) -> Script:
    """A script of what was written.

    Raises: UserError as `scripts.read_prompts` and `scripts.create_script`.
    """
    seats = [seat_of(workspace, speaker) for speaker in speakers or ()]
    return scripts.create_script(workspace, name, scripts.read_prompts(prompts), seats)


def take_file(workspace: Workspace, path: Path, speakers: Sequence[str] | None) -> tuple[str | None, str]:
    """A file: a shared script becomes one at once (its id), prompts go into the field (their text).

    A shared script without answers is put to those who are chosen here.
    Raises: DataError, UserError for a file that is neither.
    """
    try:
        text = script_files.read_text(path)
        if not script_files.is_shared(text):
            scripts.read_prompts(text)
            return None, text
        seats = [seat_of(workspace, speaker) for speaker in speakers or ()]
        made = script_files.import_script(workspace, path, seats)
        return made.script_id, ""
    finally:
        drop_upload(path)


def share(workspace: Workspace, chosen: str | None, *, with_answers: bool) -> Path:
    """The script as a file, where the page may hand it out."""
    if not chosen:
        raise UserError("script: there is none; write one first")
    script = scripts.read_state(workspace, chosen).script
    target = new_download("script-with-answers.jsonl" if with_answers else "script.jsonl")
    return script_files.export_script(workspace, script, target, with_answers=with_answers)


def delete(workspace: Workspace, chosen: str | None) -> None:
    """Delete the chosen script.

    Raises: UserError while it is running.
    """
    if chosen and scripts.read_state(workspace, chosen).going:
        raise UserError("script: it is running; stop it first")
    if chosen:
        scripts.delete_script(workspace, chosen)


# Layout and wiring


def build_script_section() -> ScriptSection:
    """Render the section's widgets."""
    with row():
        with card(scale=3) as new_box:
            words(
                present.heading(
                    "A new test script",
                    "The same questions for everyone, judged without names. Write them before you train.",
                )
            )
            name = gr.Textbox(label="Name", max_lines=1, max_length=60, elem_id="script-name")
            prompts = gr.Textbox(
                label="Prompts, one a line", lines=6, max_lines=14, max_length=2_000_000,
                elem_id="script-prompts",
                info='Or JSON: {"prompt": "…", "expect": "what a good answer holds"}',
            )  # fmt: skip
            speakers = gr.Dropdown(
                [], label="Who answers (up to 4)", multiselect=True, max_choices=4, elem_id="script-speakers",
                value=[],
            )  # fmt: skip
            with actions():
                make = gr.Button("Make and run", variant="primary", elem_id="script-make")
                file = gr.UploadButton("Open a file", file_types=[".jsonl", ".txt"], elem_id="script-file")
        with card(scale=2):
            words(present.heading("Your scripts"))
            with gr.Column(visible=False) as box:
                chosen = gr.Dropdown([], label="Script", elem_id="script-chosen", filterable=False)
            progress = words(NO_SCRIPT, elem_id="script-progress")
            with actions():
                run = gr.Button("Run in the background", visible=False, elem_id="script-run")
                stop = gr.Button("Stop", visible=False, elem_id="script-stop")
            with actions(visible=False) as owned:
                share_all = download("Share with answers", "script-share")
                share_prompts = download("Share the prompts", "script-share-prompts")
                drop = gr.Button("Delete", elem_classes="ml-danger", elem_id="script-delete")
            sure = confirmation("Delete for good", "Keep it", "script-sure")
    new = NewScript(new_box, name, prompts, file, speakers, make)
    return ScriptSection(
        new, box, chosen, progress, run, stop, owned, share_all, share_prompts, drop, sure, gr.State("")
    )


def offer_speakers(workspace: Workspace, speakers: Sequence[str] | None) -> Update:
    """Who may answer a script; at first the newest adapter and its base model."""
    choices = chat_speakers(workspace)
    keys = [key for _, key in choices]
    kept = [speaker for speaker in speakers or () if speaker in keys]
    base = next((key for key in keys if key.startswith("base:")), None)
    first = [keys[0], base] if keys and base and keys[0] != base else keys[:1]
    return gr.update(choices=choices, value=kept or first)


def wire_script_section(section: ScriptSection, workspace: Workspace, runner: ScriptRunner) -> None:
    """What each press does."""

    def make(name: str, prompts: str, speakers: list[str] | None) -> list[Update]:
        script = make_script(workspace, name, prompts, speakers)
        started = draw(workspace, script.script_id)
        try:
            runner.start(script.script_id, account_name() or None)
            started = draw(workspace, script.script_id)
        except UserError as error:
            gr.Info(present.markdown(f"It is made, and waits: {error}"))
        return ["", "", *started]

    def take(path: str | None, speakers: list[str] | None) -> list[Update]:
        if path is None:
            return [gr.skip()] * (1 + len(section.drawn))
        script_id, text = take_file(workspace, Path(path), speakers)
        if script_id is None:
            return [text, *[gr.skip()] * len(section.drawn)]
        return [gr.skip(), *draw(workspace, script_id)]

    def go_on(chosen: str | None) -> list[Update]:
        if chosen:
            runner.start(chosen, account_name() or None)
        return draw(workspace, chosen)

    def end(chosen: str | None) -> list[Update]:
        if chosen:
            runner.stop(chosen)
        return draw(workspace, chosen)

    def remove(chosen: str | None) -> list[Update]:
        delete(workspace, chosen)
        return [gr.update(visible=False), *draw(workspace, None)]

    new = section.new
    fields = [new.name, new.prompts]
    new.make.click(guarded(make), [*fields, new.speakers], [*fields, *section.drawn], **SILENT)
    new.file.upload(guarded(take), [new.file, new.speakers], [new.prompts, *section.drawn], **SILENT)
    section.chosen.input(
        for_ratings(lambda which: draw(workspace, which)), section.chosen, section.drawn, **POLL
    )
    section.run.click(guarded(go_on), section.chosen, section.drawn, **SILENT)
    section.stop.click(guarded(end), section.chosen, section.drawn, **SILENT)
    for button, with_answers in ((section.share, True), (section.share_prompts, False)):
        button.wire(
            lambda which, with_answers=with_answers: share(workspace, which, with_answers=with_answers),
            [section.chosen],
        )
    question = "<p>Delete this script for good? What was rated or voted on stays with its rating.</p>"
    asked = [section.sure.box, section.sure.question]
    section.delete.click(lambda: [gr.update(visible=True), question], None, asked, **POLL)
    section.sure.no.click(lambda: gr.update(visible=False), None, section.sure.box, **POLL)
    section.sure.yes.click(guarded(remove), section.chosen, [section.sure.box, *section.drawn], **SILENT)
