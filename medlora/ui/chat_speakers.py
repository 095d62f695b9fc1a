"""Who may answer on the page: adapters, base models alone, the models of a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.feedback.records import short_model
from medlora.services import adapters
from medlora.services.chat import ChatService, ChatSettings
from medlora.services.chat_log import ADAPTER, BASE, SERVED
from medlora.ui.blocks import keep_choice, pick
from medlora.ui.draft import draft_config, draft_server, policy_settings
from medlora.workspace import Workspace

Update = Any


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


def offer_others(workspace: Workspace, speaker: str | None, others: Sequence[str] | None) -> Update:
    """Who may answer beside the speaker: at first, beside an adapter, the base model it was trained on."""
    choices = [(name, key) for name, key in chat_speakers(workspace) if key != speaker]
    keys = [key for _, key in choices]
    chosen = [key for key in others or () if key in keys]
    own = {ADAPTER + card.name: BASE + card.base_model for card in adapters.list_adapters(workspace)}
    first = own.get(speaker or "")
    return gr.update(choices=choices, value=chosen or ([first] if first in keys else keys[-1:]))


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
