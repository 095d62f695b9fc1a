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
from medlora.services import conversations
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_log import (
    BASE,
    Conversation,
    answer_line,
    side_by_side,
    speaker_of,
)
from medlora.services.feedback import describe_answer
from medlora.services.release import read_release
from medlora.ui import present
from medlora.ui.adapter_cards import show_state
from medlora.ui.chat_speakers import settings_of
from medlora.ui.chat_view import name_speaker, show_bubbles, show_writing
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


def history_owner(service: ChatService) -> str | None:
    """Whose history this visitor's conversations belong to; None where none is offered, as in a demo."""
    caller = current_caller()
    return None if service.public or caller is None or caller.role is Role.GUEST else caller.name


def show_banners(settings: ChatSettings) -> list[str]:
    """What stands over a chat: a filter that is off, a server elsewhere, the folder of a model."""
    shown = [FILTER_OFF] if settings.safety.get("content_filter") is False else []
    if settings.remote_host:
        words = (
            "What you write here leaves this machine and is answered there. The safety layer still judges "
            "every message before it goes, and every answer before you see it."
        )
        shown.append(present.notice("amber", f"Remote: {settings.remote_host}", words))
    if settings.server is None and Path(settings.base_model).is_absolute():
        place = present.text(settings.base_model)
        shown.append(f'<p class="ml-small">Its base model lies in {place}.</p>')
    return shown


def describe_speaker(settings: ChatSettings) -> list[Update]:
    """The fields of the right-hand card for a speaker: banner, system prompt, sampling."""
    inference = settings.inference
    return [
        "".join(show_banners(settings)),
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
    service: ChatService, conversation: Conversation, seats: Sequence[ChatSettings]
) -> Iterator[tuple[Conversation | None, list[dict[str, Any]]]]:
    """The chat log while the last message is answered by one or by several, at most ten times a second.

    The conversation comes with the last one; before it, None.
    """
    names = [speaker_of(settings) for settings in seats]
    asked = [(conversation.turns(name), settings) for name, settings in zip(names, seats, strict=True)]

    def show(updates: Sequence[ChatUpdate | None]) -> list[dict[str, Any]]:
        beside = [(name_speaker(name), each) for name, each in zip(names, updates, strict=True)]
        return show_writing(conversation.lines, updates[0], beside if len(beside) > 1 else ())

    shown_at, stage, last = 0.0, "", tuple(ChatUpdate() for _ in seats)
    yield None, show([None] * len(seats))
    reply = service.compare_conversations(conversation.chat_id, asked)
    with closing(cast("Generator[tuple[ChatUpdate, ...], None, None]", reply)) as growing:
        for last in growing:
            waiting = "".join(f"{each.stage}{each.queue_place}{each.done}" for each in last)
            if waiting != stage or time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                stage, shown_at = waiting, time.monotonic()
                yield None, show(last)
    sides = [
        answer_line(update, describe_answer(turns, update, settings), name)
        for update, (turns, settings), name in zip(last, asked, names, strict=True)
    ]
    ended = conversation.append(side_by_side(sides))
    yield ended, show_bubbles(ended.lines)


Seats = str | Sequence[str] | None
"""One speaker, or several who are asked at once; none is the starter."""


def read_seats(speaker: str | None, compares: bool, others: Sequence[str] | None) -> Seats:
    """Who is asked, each once.

    Raises: UserError for a comparison of one with itself.
    """
    if not compares:
        return speaker
    seats = list(dict.fromkeys([speaker or f"{BASE}starter", *(others or ())]))
    if len(seats) == 1:
        raise UserError("chat: choose who answers beside it, or switch the comparison off")
    return seats


@dataclass(frozen=True)
class Desk:
    """The chat's handlers on their service; each yields or returns the widgets of `ChatTab.growing`.

    These are: conversation, log, message, send, stop, the box that asks about personal data, its question.
    """

    workspace: Workspace
    service: ChatService

    def send(
        self, message: str, conversation: Conversation | None, speaker: Seats, *fields: Any
    ) -> Iterator[Any]:
        """Answer the message, or ask first if it looks as if it named a person."""
        seats = self._settle(speaker)
        question = warn_of_phi(message, next((each for each in seats if each.remote_host), None))
        if question:
            yield [*[gr.skip()] * 5, gr.update(visible=True), question]
        else:
            yield from self.send_anyway(message, conversation, speaker, *fields)

    def send_anyway(
        self, message: str, conversation: Conversation | None, speaker: Seats, *fields: Any
    ) -> Iterator[Any]:
        """Answer the message. After an error it stands in its box again, the conversation as before."""
        message = message.strip()
        if not message:
            yield gr.skip()
            return
        before = conversation or Conversation()
        if before.lines and before.lines[-1].role == "user":
            raise UserError("chat: the last message is still being answered; wait, or press Stop")
        user = account_name() or None
        seats = [replace(apply_fields(each, *fields), user=user) for each in self._settle(speaker)]
        owner = history_owner(self.service)
        asked = self._keep(owner, before.add("user", message))
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        yield [asked, show_writing(asked.lines, None), "", hidden, shown, hidden, gr.skip()]
        try:
            for ended, log in answer(self.service, asked, seats):
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

    def _settle(self, speaker: Seats) -> list[ChatSettings]:
        names = [speaker] if speaker is None or isinstance(speaker, str) else speaker
        return [settings_of(self.service, name) for name in names]

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

    def banner(self, speaker: str | None, compares: bool = False, others: Sequence[str] | None = None) -> str:
        """What stands above a chat with them: their state and their filter may have changed meanwhile."""
        named = dict.fromkeys([speaker or f"{BASE}starter", *(others or () if compares else ())])
        above = [shown for each in self._settle(list(named)) for shown in self._show_above(each)]
        return "".join(dict.fromkeys(above))

    def describe(self, speaker: str | None) -> list[Update]:
        """The settings that a speaker begins with."""
        settings = settings_of(self.service, speaker or f"{BASE}starter")
        return ["".join(self._show_above(settings)), *describe_speaker(settings)[1:]]

    def _show_above(self, settings: ChatSettings) -> list[str]:
        """Where the adapter stands on its way to a release, and whether the filter is off."""
        state = show_state(read_release(self.workspace, settings.adapter)) if settings.adapter else ""
        return [state, *show_banners(settings)]
