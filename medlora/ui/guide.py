"""The first-use guide: three steps with the sample dataset, above the tabs until they are gone or skipped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import gradio as gr

from medlora.access.roles import OWNER, Permission
from medlora.services import adapters, data, train
from medlora.ui import chat_speakers, data_report, data_tab
from medlora.ui.blocks import actions, words
from medlora.ui.events import POLL, SILENT, current_caller, for_chat, guarded
from medlora.ui.present import text
from medlora.ui.remembered import GUIDE, Kept, read_kept, recalled, remember_this
from medlora.workspace import Workspace

if TYPE_CHECKING:
    from medlora.services.chat_log import Conversation
    from medlora.ui.page import Tabs

ON, OFF = "on", "off"
_GOING = ("queued", "running", "stopping")
_STEPS = (
    ("Take the sample dataset", "286 questions with the answers we would want. Or drop your own file below."),
    (
        "Train a small adapter",
        "The starter template is chosen: read the checks, then press Start training.",
    ),
    ("Ask it something", "Every message and every answer passes the safety layer."),
)
_TRAINING = "It is training; it goes on whatever you look at meanwhile."
_WHOLE_WAY = "That was the whole way. Bring your own records next: the steps stay the same."
Update = Any


class Step(IntEnum):
    """Where the newcomer stands."""

    DATA = 0
    TRAIN = 1
    CHAT = 2
    DONE = 3


@dataclass(frozen=True)
class Guide:
    """The widgets of the guide: one button a step."""

    box: gr.Column
    steps: gr.HTML
    sample: gr.Button
    train: gr.Button
    chat: gr.Button
    skip: gr.Button

    @property
    def drawn(self) -> list[Any]:
        return [self.box, self.steps, self.sample, self.train, self.chat, self.skip]


# Handlers


def is_new(workspace: Workspace) -> bool:
    """Whether nothing was ever done here.

    Why adapters do not count: the demo's one comes with every checkout.
    """
    return not data.list_datasets(workspace) and not train.list_runs(workspace)


def list_own(workspace: Workspace) -> list[adapters.AdapterCard]:
    """The adapters that were trained here, the newest first."""
    runs = {run.run_id for run in train.list_runs(workspace)}
    return [card for card in adapters.list_adapters(workspace) if card.run_id in runs]


def begin(workspace: Workspace, kept: Kept) -> dict[str, Any]:
    """The memory of a browser that opens the page: a newcomer to an empty app gets the guide."""
    may = (current_caller() or OWNER).may(Permission.MANAGE)
    if may and kept.name(GUIDE) is None and is_new(workspace):
        return {**kept.values, GUIDE: ON}
    return kept.values


def find_step(workspace: Workspace, talked: bool) -> Step:
    """The first step that is not done yet."""
    if list_own(workspace):
        return Step.DONE if talked else Step.CHAT
    return Step.TRAIN if data.list_datasets(workspace) or train.list_runs(workspace) else Step.DATA


def show_steps(step: Step, training: bool) -> str:
    """The three steps: done, now, later; said in words for who cannot see the marks."""
    items = []
    for number, (title, sentence) in enumerate(_STEPS):
        state = "past" if number < step else "now" if number == step else "later"
        mark = "✓" if state == "past" else str(number + 1)
        told = _TRAINING if training and number == Step.TRAIN else sentence
        current = ' aria-current="step"' if state == "now" else ""
        spoken = '<span class="ml-spoken">done: </span>' if state == "past" else ""
        items.append(
            f'<li class="ml-{state}"{current}><span class="ml-number" aria-hidden="true">{mark}</span>'
            f"<div><strong>{spoken}{text(title)}</strong><p>{text(told)}</p></div></li>"
        )
    end = f'<p class="ml-small">{text(_WHOLE_WAY)}</p>' if step == Step.DONE else ""
    return f'<h2>Three steps to your first adapter</h2><ol class="ml-steps">{"".join(items)}</ol>{end}'


def draw(workspace: Workspace, kept: Kept, conversation: Conversation | None) -> list[Update]:
    """The guide as far as its newcomer is."""
    if kept.name(GUIDE) != ON or not (current_caller() or OWNER).may(Permission.MANAGE):
        return [gr.update(visible=False), *[gr.skip()] * 5]
    step = find_step(workspace, bool(conversation and conversation.lines))
    training = step == Step.TRAIN and any(run.status in _GOING for run in train.list_runs(workspace))
    return [
        gr.update(visible=True),
        show_steps(step, training),
        gr.update(visible=step == Step.DATA),
        gr.update(visible=step == Step.TRAIN, value="Watch it" if training else "Go to Train"),
        gr.update(visible=step == Step.CHAT),
        gr.update(value="Finish" if step == Step.DONE else "Skip the guide"),
    ]


# Layout and wiring


def build_guide() -> Guide:
    """Render the guide, hidden."""
    with gr.Column(visible=False, elem_classes=["ml-card", "ml-guide"], elem_id="guide") as box:
        steps = words(elem_id="guide-steps")
        with actions():
            sample = gr.Button("Take the sample dataset", variant="primary", elem_id="guide-sample")
            go = gr.Button("Go to Train", variant="primary", visible=False, elem_id="guide-train")
            chat = gr.Button("Go to the chat", variant="primary", visible=False, elem_id="guide-chat")
            skip = gr.Button("Skip the guide", elem_classes="ml-quiet", elem_id="guide-skip")
    return Guide(box, steps, sample, go, chat, skip)


def wire_guide(
    guide: Guide, tabs: Tabs, strip: gr.Tabs, memory: gr.JSON, opened: Any, workspace: Workspace
) -> None:
    """What each press does, and what moves the guide on: `opened` is the event that reads the memory."""

    def take() -> list[Update]:
        name = data.use_sample(workspace).name
        shown = data_report.check_stored(workspace, name, lambda share: None)
        return [*data_tab.draw_stored(workspace, name), *shown, gr.Tabs(selected="data")]

    def look(stored: object, conversation: Conversation | None) -> list[Update]:
        return draw(workspace, read_kept(stored), conversation)

    def meet() -> list[Update]:
        newest = next((card.name for card in list_own(workspace) if not card.problem), None)
        return [chat_speakers.choose_adapter(workspace, newest), gr.Tabs(selected="chat")]

    listed = [tabs.data.none_stored, tabs.data.stored, *tabs.data.drawn, strip]
    guide.sample.click(guarded(take), None, listed, show_progress_on=guide.sample, **SILENT)
    guide.train.click(guarded(lambda: gr.Tabs(selected="train")), None, strip, **POLL)
    guide.chat.click(guarded(meet), None, [tabs.chat.speaker, strip], **POLL)
    asked, seen = [memory, tabs.chat.conversation], guide.drawn
    recalled(remember_this(guide.skip.click, GUIDE, OFF).then, for_chat(look), asked, seen)
    recalled(opened.then, for_chat(look), asked, seen)
    for changed in (tabs.data.shown, tabs.train.seen, tabs.chat.conversation):
        recalled(changed.change, for_chat(look, quiet=True), asked, seen)
