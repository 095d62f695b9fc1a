"""The Chat tab: talk to an adapter or its base model, behind the safety layer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import gradio as gr

from medlora.config.schema import find_setting
from medlora.dataset.phi import find_phi
from medlora.errors import MedloraError
from medlora.services import adapters
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, pick, row, words
from medlora.ui.chat_view import (
    EXAMPLES,
    PLACEHOLDER,
    Conversation,
    show_bubbles,
    show_foot,
    show_writing,
)
from medlora.ui.events import POLL, SILENT, guarded
from medlora.workspace import Workspace

UPDATE_INTERVAL_S = 0.1
BASE, ADAPTER = "base:", "adapter:"
FILTER_OFF = present.notice(
    "red",
    "The content filter is off",
    "Messages that would be referred to a professional reach the model. Emergencies and crises still stop it; "
    "every turn is in the audit.",
)
Update = Any


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
    banner: gr.HTML
    log: gr.Chatbot
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    phi: Confirmation
    system_prompt: gr.Textbox
    sampling: SamplingFields
    conversation: gr.State


# Handlers


def new_conversation() -> Conversation:
    """An empty conversation with an id of its own."""
    return Conversation(uuid4().hex)


def speaker_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Who may answer: every usable adapter, then each base model alone."""
    cards = [card for card in adapters.list_adapters(workspace) if not card.problem]
    bases = list(dict.fromkeys([*(card.base_model for card in cards), "starter"]))
    chosen = [(card.name, ADAPTER + card.name) for card in cards]
    return chosen + [(f"{name} (base model alone)", BASE + name) for name in bases if name]


def open_tab(workspace: Workspace, speaker: str | None) -> Update:
    """Who may answer now; the choice stays if it still can."""
    return pick(speaker_choices(workspace), speaker)


def choose_adapter(workspace: Workspace, name: str | None) -> Update:
    """The same, with this adapter chosen."""
    return open_tab(workspace, ADAPTER + name if name else None)


def settings_of(service: ChatService, speaker: str) -> ChatSettings:
    """What a chat with this speaker begins with."""
    if speaker.startswith(ADAPTER):
        return service.settings_for(speaker.removeprefix(ADAPTER))
    return service.settings_for(None, speaker.removeprefix(BASE) or "starter")


def describe_speaker(settings: ChatSettings) -> list[Update]:
    """The fields of the right-hand card for a speaker: banner, system prompt, sampling."""
    inference = settings.inference
    return [
        FILTER_OFF if settings.safety.get("content_filter") is False else "",
        settings.system_prompt,
        inference.max_new_tokens,
        inference.temperature == 0,
        inference.temperature,
        inference.top_p,
        inference.repetition_penalty,
        inference.seed,
    ]


def apply_fields(settings: ChatSettings, system_prompt: str, *sampling: Any) -> ChatSettings:
    """The speaker's settings with what the user changed on the page.

    Raises: UserError for a value out of its bounds.
    """
    longest, greedy, temperature, top_p, repetition, seed = sampling
    changed = settings.with_sampling(
        max_new_tokens=int(longest),
        temperature=0.0 if greedy else float(temperature),
        top_p=float(top_p),
        repetition_penalty=float(repetition),
        seed=int(seed) if seed is not None else settings.inference.seed,
    )
    return replace(changed, system_prompt=system_prompt)


def warn_of_phi(message: str) -> str:
    """A question if the message looks as if it named a person; empty if it does not."""
    kinds = list(dict.fromkeys(span.kind.replace("_", " ") for span in find_phi(message)))
    if not kinds:
        return ""
    return (
        f"<p><strong>This may identify a person: {present.text(', '.join(kinds))}.</strong> "
        "It stays on this machine and is not written to the audit in clear, but an example does not need it.</p>"
    )


def answer(
    service: ChatService, conversation: Conversation, settings: ChatSettings
) -> Iterator[tuple[Conversation | None, list[dict[str, Any]]]]:
    """The chat log while the last message is answered, at most ten times a second.

    The conversation comes with the last one; before it, None.
    """
    lines = conversation.lines
    shown_at, stage, last = 0.0, "", ChatUpdate()
    yield None, show_writing(lines, None)
    with closing(service.reply(conversation.chat_id, conversation.turns(), settings)) as updates:
        for last in updates:
            waiting = f"{last.stage}{last.queue_place}"
            if waiting != stage or time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                stage, shown_at = waiting, time.monotonic()
                yield None, show_writing(lines, last)
    ended = conversation.add("assistant", last.text, show_foot(last))
    yield ended, show_bubbles(ended.lines)


# Layout and wiring


def _slider(key: str, low: float, high: float, step: float) -> gr.Slider:
    doc = find_setting(f"inference.{key}")
    assert doc is not None
    return gr.Slider(low, high, value=doc.default, step=step, label=doc.title, info=doc.help)


def build_chat_tab() -> ChatTab:
    """Render the tab's widgets."""
    words(
        present.lead(
            "Chat", "Ask what your readers will ask. Nothing unjudged is shown, and nothing is sent anywhere."
        )
    )
    with row():
        with card(scale=3, elem_id="chat-card"):
            speaker = gr.Dropdown([], label="Who answers", elem_id="chat-speaker", filterable=False)
            banner = words(elem_id="chat-banner")
            log = gr.Chatbot(
                [], elem_id="chat-log", show_label=False, height=520, buttons=["copy"], allow_tags=False,
                latex_delimiters=[], feedback_options=None, placeholder=PLACEHOLDER, layout="bubble",
                examples=[{"text": example} for example in EXAMPLES], group_consecutive_messages=False,
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
        with card(scale=2):
            words(
                present.heading(
                    "How it answers", "They count for this page alone; the adapter keeps its own."
                )
            )
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
    return ChatTab(
        speaker=speaker, banner=banner, log=log, message=message, send=send, stop=stop, clear=clear, phi=phi,
        system_prompt=system_prompt, sampling=sampling, conversation=gr.State(None),
    )  # fmt: skip


def wire_chat_tab(tab: ChatTab, workspace: Workspace, service: ChatService) -> None:
    """What each press does."""
    fields = [tab.system_prompt, *tab.sampling.all]
    growing = [tab.conversation, tab.log, tab.message, tab.send, tab.stop, tab.phi.box, tab.phi.question]

    def busy(conversation: Conversation, log: list[dict[str, Any]]) -> list[Update]:
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        return [conversation, log, "", hidden, shown, hidden, gr.skip()]

    def send(message: str, conversation: Conversation | None, speaker: str, *values: Any) -> Iterator[Any]:
        yield from _send(message, conversation, speaker, values, sure=False)

    def send_anyway(
        message: str, conversation: Conversation | None, speaker: str, *values: Any
    ) -> Iterator[Any]:
        yield from _send(message, conversation, speaker, values, sure=True)

    def _send(
        message: str, conversation: Conversation | None, speaker: str, values: tuple[Any, ...], *, sure: bool
    ) -> Iterator[list[Update]]:
        message = message.strip()
        question = "" if sure else warn_of_phi(message)
        if not message or question:
            skip = [gr.skip()] * 5
            yield [*skip, gr.update(visible=bool(question)), question]
            return
        before = conversation or new_conversation()
        settings = apply_fields(settings_of(service, speaker), *values)
        asked = before.add("user", message)
        idle = [
            gr.skip(),
            gr.update(visible=True),
            gr.update(visible=False),
            gr.update(visible=False),
            gr.skip(),
        ]
        yield busy(asked, show_writing(asked.lines, None))
        try:
            for ended, log in answer(service, asked, settings):
                yield [ended or gr.skip(), log, *([gr.skip()] * 5 if ended is None else idle)]
        except MedloraError:
            yield [before, show_bubbles(before.lines), message, *idle[1:]]
            raise

    def stop(conversation: Conversation | None) -> None:
        if conversation is not None:
            service.stop(conversation.chat_id)

    def clear(conversation: Conversation | None) -> list[Update]:
        stop(conversation)
        return [new_conversation(), []]

    inputs = [tab.message, tab.conversation, tab.speaker, *fields]
    generation: dict[str, Any] = {**SILENT, "concurrency_limit": 16, "show_progress": "hidden"}
    for event in (tab.send.click, tab.message.submit):
        event(guarded(send), inputs, growing, concurrency_id="chat", **generation)
    tab.phi.yes.click(guarded(send_anyway), inputs, growing, concurrency_id="chat", **generation)
    tab.phi.no.click(lambda: gr.update(visible=False), None, tab.phi.box, **POLL)
    tab.stop.click(guarded(stop), tab.conversation, None, **POLL)
    tab.clear.click(guarded(clear), tab.conversation, [tab.conversation, tab.log], **POLL)

    def take_example(event: gr.SelectData) -> str:
        return str(event.value["text"])

    tab.log.example_select(guarded(take_example), None, tab.message, **POLL)

    def describe(speaker: str | None) -> list[Update]:
        if not speaker:
            return [gr.skip()] * (1 + len(fields))
        return describe_speaker(settings_of(service, speaker))

    tab.speaker.change(guarded(describe), tab.speaker, [tab.banner, *fields], **POLL)
