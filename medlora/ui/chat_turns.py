"""One chat turn of the page: from what was typed to what is drawn. All judging is in the services."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import gradio as gr

from medlora.access.roles import Role
from medlora.dataset.phi import find_phi
from medlora.errors import UserError
from medlora.feedback.records import short_model
from medlora.services import adapters, conversations
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_log import ADAPTER, BASE, SERVED, Conversation, answer_line, speaker_of
from medlora.services.feedback import describe_answer
from medlora.services.release import read_release
from medlora.ui import present
from medlora.ui.adapter_cards import show_state
from medlora.ui.blocks import keep_choice, pick
from medlora.ui.chat_view import show_bubbles, show_writing
from medlora.ui.draft import draft_config, draft_server, policy_settings
from medlora.ui.events import current_caller
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

UPDATE_INTERVAL_S = 0.1
FILTER_OFF = present.notice(
    "red",
    "The content filter is off",
    "Messages that would be referred to a professional reach the model. Emergencies and crises still "
    "stop it; every turn is in the audit.",
)
Update = Any
Bubbles = list[dict[str, Any]]


def history_owner(service: ChatService) -> str | None:
    """Whose history this visitor's conversations belong to; None where none is offered, as in a demo."""
    caller = current_caller()
    return None if service.public or caller is None or caller.role is Role.GUEST else caller.name


def speaker_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Who may answer: every usable adapter, then each base model alone."""
    cards = [card for card in adapters.list_adapters(workspace) if not card.problem]
    bases = list(dict.fromkeys([*(card.base_model for card in cards), "starter"]))
    chosen = [(card.name, ADAPTER + card.name) for card in cards]
    return chosen + [
        (f"{short_among(name, bases)} (base model alone)", BASE + name) for name in bases if name
    ]


def short_among(name: str, among: Sequence[str]) -> str:
    """A base model's name without the way to its folder, as far as that tells it from the others."""
    path = Path(name)
    short = short_model(name)
    twins = [other for other in among if short_model(other) == short]
    return f"{path.parent.name}/{short}" if len(twins) > 1 and path.is_absolute() else short


def chat_speakers(workspace: Workspace) -> list[tuple[str, str]]:
    """Who may answer in the chat: those of this machine, then the models of the configuration's server."""
    server = draft_server(workspace)
    served = server.models if server is not None else ()
    host = server.host if server is not None else ""
    return speaker_choices(workspace) + [(f"{short_model(name)} at {host}", SERVED + name) for name in served]


def offer_speakers(workspace: Workspace, speaker: str | None) -> Update:
    """Who may answer now; the choice stays if it still can."""
    return keep_choice(pick(chat_speakers(workspace), speaker), speaker)


def choose_adapter(workspace: Workspace, name: str | None) -> Update:
    """The same, with this adapter chosen."""
    return pick(chat_speakers(workspace), ADAPTER + name if name else None)


def settings_of(service: ChatService, speaker: object) -> ChatSettings:
    """What a chat with this speaker begins with, under the safety settings of the Configure tab.

    Why any value: while the page still loads, its list of speakers sends what it holds before its choices;
    none, or what is no speaker, is the starter.
    """
    if not isinstance(speaker, str):
        speaker = f"{BASE}starter"
    if speaker.startswith(SERVED):
        config = draft_config(service.workspace)
        if config is None:
            raise UserError("chat: the configuration has errors; mend it under Configure, then ask again")
        return service.settings_for_server(config, speaker.removeprefix(SERVED))
    safety = policy_settings(service.workspace)
    if speaker.startswith(ADAPTER):
        return service.settings_for(speaker.removeprefix(ADAPTER), safety=safety)
    return service.settings_for(None, speaker.removeprefix(BASE) or "starter", safety)


def show_banner(settings: ChatSettings) -> str:
    """The banners that stand over a chat without its content filter, or with a server elsewhere."""
    banner = FILTER_OFF if settings.safety.get("content_filter") is False else ""
    if settings.remote_host:
        banner += present.notice(
            "amber",
            f"Remote: {settings.remote_host}",
            "What you write here leaves this machine and is answered there. The safety layer still judges "
            "every message before it goes, and every answer before you see it.",
        )
    if settings.server is None and Path(settings.base_model).is_absolute():
        banner += f'<p class="ml-small">Its base model lies in {present.text(settings.base_model)}.</p>'
    return banner


def describe_speaker(settings: ChatSettings) -> list[Update]:
    """The fields of the right-hand card for a speaker: banner, system prompt, sampling."""
    inference = settings.inference
    return [
        show_banner(settings),
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


def warn_of_phi(message: str, settings: ChatSettings | None = None) -> str:
    """A question if the message looks as if it named a person; empty if it does not."""
    kinds = list(dict.fromkeys(span.kind.replace("_", " ") for span in find_phi(message)))
    if not kinds:
        return ""
    host = settings.remote_host if settings is not None else ""
    away = f"It would leave this machine for {present.text(host)}. " if host else ""
    return (
        f"<p><strong>This may identify a person: {present.text(', '.join(kinds))}.</strong> {away}"
        "The audit does not quote it; but an example does not need it.</p>"
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
    reply = service.reply(conversation.chat_id, conversation.turns(), settings)
    with closing(cast("Generator[ChatUpdate, None, None]", reply)) as updates:
        for last in updates:
            waiting = f"{last.stage}{last.queue_place}"
            if waiting != stage or time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                stage, shown_at = waiting, time.monotonic()
                yield None, show_writing(lines, last)
    kept = describe_answer(conversation.turns(), last, settings)
    ended = conversation.append(answer_line(last, kept, speaker_of(settings)))
    yield ended, show_bubbles(ended.lines)


@dataclass(frozen=True)
class Desk:
    """The chat's handlers on their service; each yields or returns the widgets of `ChatTab.growing`.

    These are: conversation, log, message, send, stop, the box that asks about personal data, its question.
    """

    workspace: Workspace
    service: ChatService

    def send(
        self, message: str, conversation: Conversation | None, speaker: str, *fields: Any
    ) -> Iterator[Any]:
        """Answer the message, or ask first if it looks as if it named a person."""
        question = warn_of_phi(message, settings_of(self.service, speaker))
        if question:
            yield [*[gr.skip()] * 5, gr.update(visible=True), question]
        else:
            yield from self.send_anyway(message, conversation, speaker, *fields)

    def send_anyway(
        self, message: str, conversation: Conversation | None, speaker: str, *fields: Any
    ) -> Iterator[Any]:
        """Answer the message. After an error it stands in its box again, the conversation as before."""
        message = message.strip()
        if not message:
            yield gr.skip()
            return
        before = conversation or Conversation()
        if before.lines and before.lines[-1].role == "user":
            raise UserError("chat: the last message is still being answered; wait, or press Stop")
        settings = apply_fields(settings_of(self.service, speaker or f"{BASE}starter"), *fields)
        settings = replace(settings, user=account_name() or None)
        owner = history_owner(self.service)
        asked = self._keep(owner, before.add("user", message))
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        yield [asked, show_writing(asked.lines, None), "", hidden, shown, hidden, gr.skip()]
        try:
            for ended, log in answer(self.service, asked, settings):
                if ended is None:
                    yield [gr.skip(), log, *[gr.skip()] * 5]
                else:
                    ended = self._keep(owner, ended)
                    yield [ended, log, gr.skip(), shown, hidden, hidden, gr.skip()]
        except Exception:
            if owner is not None:
                conversations.take_back(self.workspace, owner, before)
            yield [before, show_bubbles(before.lines), message, shown, hidden, hidden, gr.skip()]
            raise

    def _keep(self, owner: str | None, talk: Conversation) -> Conversation:
        """Into the history, for an owner who wishes that."""
        return talk if owner is None else conversations.keep(self.workspace, owner, talk)

    def stop(self, conversation: Conversation | None) -> None:
        """Stop the answer that is growing; what was judged so far stays."""
        if conversation is not None:
            self.service.stop(conversation.chat_id)

    def clear(self, conversation: Conversation | None) -> list[Update]:
        """A new conversation; the old one is forgotten, unless it lies in the history."""
        self.stop(conversation)
        return [Conversation(), []]

    def banner(self, speaker: str | None) -> str:
        """What stands above a chat with that speaker: its state and its filter may have changed meanwhile."""
        return self._show_above(settings_of(self.service, speaker or f"{BASE}starter"))

    def describe(self, speaker: str | None) -> list[Update]:
        """The settings that a speaker begins with."""
        settings = settings_of(self.service, speaker or f"{BASE}starter")
        return [self._show_above(settings), *describe_speaker(settings)[1:]]

    def _show_above(self, settings: ChatSettings) -> str:
        """Where the adapter stands on its way to a release, and whether the filter is off."""
        state = show_state(read_release(self.workspace, settings.adapter)) if settings.adapter else ""
        return state + show_banner(settings)
