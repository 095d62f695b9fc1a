"""The Chat tab: talk to an adapter or its base model, behind the safety layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.config.schema import find_setting
from medlora.errors import InternalError
from medlora.services.chat import MOST_SPEAKERS, ChatService
from medlora.services.chat_log import Conversation
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, row, words
from medlora.ui.chat_speakers import offer_others
from medlora.ui.chat_turns import Desk, read_seats
from medlora.ui.chat_view import EXAMPLES, PLACEHOLDER
from medlora.ui.events import POLL, SILENT, UNSEEN
from medlora.ui.events import for_chat as guarded
from medlora.ui.history_card import HistoryCard, build_history_card, wire_history_card
from medlora.workspace import Workspace

_HIDDEN = gr.update(visible=False)


@dataclass(frozen=True)
class SamplingFields:
    """The settings of an answer; empty seed means the configuration's."""

    max_new_tokens: gr.Slider
    greedy: gr.Checkbox
    temperature: gr.Slider
    top_p: gr.Slider
    repetition_penalty: gr.Slider
    seed: gr.Number

    @property
    def all(self) -> list[Any]:
        return [
            self.max_new_tokens,
            self.greedy,
            self.temperature,
            self.top_p,
            self.repetition_penalty,
            self.seed,
        ]


@dataclass(frozen=True)
class ChatTab:
    """The widgets of the tab."""

    speaker: gr.Dropdown
    compares: gr.Checkbox
    others: gr.Dropdown
    banner: gr.HTML
    log: gr.Chatbot
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    phi: Confirmation
    system_prompt: gr.Textbox
    sampling: SamplingFields
    own: gr.Button
    conversation: gr.State
    history: HistoryCard

    @property
    def fields(self) -> list[Any]:
        return [self.system_prompt, *self.sampling.all]

    @property
    def growing(self) -> list[Any]:
        """What changes while an answer grows."""
        pressed = [self.message, self.send, self.stop]
        return [self.conversation, self.log, *pressed, self.phi.box, self.phi.question]


# Layout and wiring


def _slider(key: str, low: float, high: float, step: float) -> gr.Slider:
    doc = find_setting(f"inference.{key}")
    if doc is None:
        raise InternalError(f"the chat names a setting that does not exist (got {key})")
    return gr.Slider(low, high, value=doc.default, step=step, label=doc.title, info=doc.help)


def _build_settings() -> tuple[gr.Textbox, SamplingFields, gr.Button]:
    """Render the card of what an answer goes by."""
    with card():
        words(present.heading("How it answers", "They count in this browser; the adapter keeps its own."))
        system_prompt = gr.Textbox(
            label="System prompt", lines=5, max_lines=12, max_length=8000, elem_id="chat-system"
        )
        greedy = gr.Checkbox(label="Always the likeliest word (repeatable)", elem_id="chat-greedy")
        sampling = SamplingFields(
            greedy=greedy,
            max_new_tokens=_slider("max_new_tokens", 16, 2048, 1),
            temperature=_slider("temperature", 0, 2, 0.05),
            top_p=_slider("top_p", 0.05, 1, 0.05),
            repetition_penalty=_slider("repetition_penalty", 1, 2, 0.05),
            seed=gr.Number(42, label="Seed", precision=0, minimum=0),
        )
        with actions():
            own = gr.Button("Back to its own settings", elem_classes="ml-quiet", elem_id="chat-own")
    return system_prompt, sampling, own


def build_chat_tab() -> ChatTab:
    """Render the tab's widgets."""
    words(
        present.lead(
            "Chat",
            "Ask what your readers will ask. Every message and every answer is judged before it counts.",
        )
    )
    with row():
        with card(scale=3, elem_id="chat-card"):
            speaker = gr.Dropdown([], label="Who answers", elem_id="chat-speaker", filterable=False)
            compares = gr.Checkbox(label="Compare: ask others the same", elem_id="chat-compare")
            others = gr.Dropdown(
                [], label="Answers beside it", multiselect=True, max_choices=MOST_SPEAKERS - 1, visible=False,
                elem_id="chat-others", filterable=False,
            )  # fmt: skip
            banner = words(elem_id="chat-banner")
            log = gr.Chatbot(
                [], elem_id="chat-log", show_label=False, height=520, buttons=["copy"], allow_tags=False,
                latex_delimiters=[], feedback_options=("Like", "Dislike"), placeholder=PLACEHOLDER,
                layout="bubble", examples=[{"text": example} for example in EXAMPLES],
                group_consecutive_messages=False, visible=False,
            )  # fmt: skip
            phi = confirmation("Send it anyway", "Change it", "chat-phi")
            message = gr.Textbox(
                label="Message", placeholder="Write a question and press Enter", lines=1, max_lines=6,
                max_length=8000, elem_id="chat-message", autofocus=False,
            )  # fmt: skip
            with actions():
                send = gr.Button("Send", variant="primary", elem_id="chat-send")
                stop = gr.Button("Stop", visible=False, elem_id="chat-stop")
                clear = gr.Button("New conversation", elem_classes="ml-quiet", elem_id="chat-clear")
        with gr.Column(scale=2, min_width=300, elem_classes="ml-stack"):
            history = build_history_card()
            system_prompt, sampling, own = _build_settings()
    return ChatTab(
        speaker=speaker, compares=compares, others=others, banner=banner, log=log, message=message,
        send=send, stop=stop, clear=clear, phi=phi, system_prompt=system_prompt, sampling=sampling, own=own,
        conversation=gr.State(None), history=history,
    )  # fmt: skip


def wire_chat_tab(tab: ChatTab, workspace: Workspace, service: ChatService) -> Any:
    """What each press does. The service has its own queue and tells the place in it.

    Returns the event after which the settings are those that the speaker begins with.
    """
    desk = Desk(workspace, service)
    seats = [tab.speaker, tab.compares, tab.others]
    inputs = [tab.message, tab.conversation, *seats, *tab.fields]

    def send(
        message: str, talk: Conversation | None, who: str, compares: bool, others: list[str], *fields: Any
    ) -> Iterator[Any]:
        yield from desk.send(message, talk, read_seats(who, compares, others), *fields)

    def send_anyway(
        message: str, talk: Conversation | None, who: str, compares: bool, others: list[str], *fields: Any
    ) -> Iterator[Any]:
        yield from desk.send_anyway(message, talk, read_seats(who, compares, others), *fields)

    def offer(who: str | None, compares: bool, others: list[str] | None) -> Any:
        return {**offer_others(workspace, who, others), "visible": compares} if compares else _HIDDEN

    # The conversation alone shows that an answer is on its way.
    generation: dict[str, Any] = {**SILENT, **UNSEEN, "show_progress_on": tab.log, "concurrency_id": "chat"}
    for event in (tab.send.click, tab.message.submit):
        event(guarded(send), inputs, tab.growing, concurrency_limit=16, **generation)
    tab.phi.yes.click(guarded(send_anyway), inputs, tab.growing, concurrency_limit=16, **generation)
    tab.phi.no.click(lambda: gr.update(visible=False), None, tab.phi.box, **POLL)
    tab.stop.click(guarded(desk.stop), tab.conversation, None, **POLL)
    tab.clear.click(guarded(desk.clear), tab.conversation, [tab.conversation, tab.log], **POLL)

    wire_history_card(tab.history, tab.conversation, tab.log, tab.speaker, service)

    def take_example(event: gr.SelectData) -> str:
        return str(event.value["text"])

    tab.log.example_select(guarded(take_example), None, tab.message, **POLL)
    described = tab.speaker.change(guarded(desk.describe), tab.speaker, [tab.banner, *tab.fields], **POLL)
    described.then(guarded(offer), seats, tab.others, **POLL)
    tab.compares.input(guarded(offer), seats, tab.others, **POLL)
    tab.others.change(guarded(desk.banner), seats, tab.banner, **POLL)
    return described
