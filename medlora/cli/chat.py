"""`chat`: one message, or a conversation in the terminal; the same safety layer as on the page."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, SetFlag, print_json
from medlora.cli.safety import read_config
from medlora.config.schema import Config
from medlora.config.server import server_of
from medlora.dataset.phi import find_phi
from medlora.errors import RunFailedError, UserError
from medlora.services import conversations
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_log import ADAPTER, BASE, SERVED, Conversation, answer_line, speaker_of
from medlora.services.feedback import describe_answer
from medlora.services.release import read_release
from medlora.workspace import Workspace, computer_user


def chat(
    adapter: Annotated[
        str | None, typer.Option(help="The adapter's name; without it the base model.")
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="The adapter's base model, without the adapter.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="The base model, where no adapter names one: starter, or a name of the server."),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Ask this, print the answer and end.")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Obey the safety settings of this file too, such as its country; ask the server it names."
        ),
    ] = None,
    sets: SetFlag = None,
    conversation: Annotated[
        str | None, typer.Option(help="Go on with this kept conversation, with whoever answered in it last.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Ask this one too, side by side: an adapter's name, or base:NAME, served:NAME.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep this conversation, whatever `conversations keep` says.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Talk to an adapter behind the safety layer. Without --message: a conversation, until an empty line."""
    if json and message is None:
        raise UserError("--json: it needs --message")
    service = ChatService(Workspace.open())
    talk = conversations.reopen(service.workspace, None, conversation) if conversation else Conversation()
    if conversation and not (adapter or model):
        adapter, model = _last_speaker(talk)
    try:
        settings = _settings(service, adapter, model, read_config(config, sets))
        settings = replace(settings, user=computer_user())
        if base:
            settings = replace(settings, adapter=None)
        release = read_release(service.workspace, settings.adapter) if settings.adapter else None
        if release is not None and not json:
            print(f"{settings.adapter}: {release.words}", file=sys.stderr)
        if beside:
            _compare(service, [settings, *_settle(service, beside, read_config(config, sets))], message, json)
            return
        desk = _Desk(service, settings, keeps=keep or conversation is not None)
        if message is None:
            _converse(desk, talk)
        else:
            _ask(desk, talk, message, as_json=json, release=release.state if release else None)
    finally:
        service.close()


@dataclass(frozen=True)
class _Desk:
    """Who is asked, and whether what is said is kept."""

    service: ChatService
    settings: ChatSettings
    keeps: bool

    def say(self, talk: Conversation, message: str, *, shown: bool) -> tuple[Conversation, ChatUpdate]:
        """The conversation with the message and its answer."""
        asked = talk.add("user", message)
        turns = asked.turns(speaker_of(self.settings))
        last = _stream(self.service, turns, self.settings, shown=shown, chat_id=talk.chat_id)
        answer = describe_answer(turns, last, self.settings)
        return asked.append(answer_line(last, answer, speaker_of(self.settings))), last

    def keep(self, talk: Conversation, *, asked_for: bool) -> Conversation:
        """Into the history of the person at this computer; one of somebody else stays theirs."""
        ws = self.service.workspace
        owner = conversations.show(ws, None, talk.chat_id).owner if talk.kept else ""
        return conversations.keep(ws, owner, talk, asked_for=asked_for)


def _last_speaker(talk: Conversation) -> tuple[str | None, str | None]:
    """Adapter and model of whoever answered last."""
    asked = next(iter(talk.speakers), "")
    if asked.startswith(ADAPTER):
        return asked.removeprefix(ADAPTER), None
    return None, asked.split(":", 1)[-1] or None


def _settle(service: ChatService, names: list[str], config: Config | None) -> list[ChatSettings]:
    """Those who are asked beside the first."""
    settled = []
    for name in names:
        adapter = None if name.startswith((BASE, SERVED)) else name.removeprefix(ADAPTER)
        settled.append(_settings(service, adapter, None if adapter else name.split(":", 1)[-1], config))
    return settled


def _compare(service: ChatService, seats: list[ChatSettings], message: str | None, as_json: bool) -> None:
    """One question to several at once."""
    if message is None:
        raise UserError("--beside: it needs --message")
    warn_of_phi(message, next((each for each in seats if each.remote_host), seats[0]))
    asked = [{"role": "user", "content": message}]
    last = list(service.compare(secrets.token_hex(8), asked, seats))[-1]
    if as_json:
        print_json({"answers": [update.as_dict() for update in last]})
        return
    for update in last:
        print(
            f"{update.text or update.error}\n[{update.level}, {update.action}; {_label(update)}]\n",
            flush=True,
        )


def _settings(
    service: ChatService, adapter: str | None, model: str | None, config: Config | None
) -> ChatSettings:
    """Whom to ask: an adapter, the server of the configuration, a base model here."""
    server = server_of(config.inference) if config is not None else None
    if config is not None and server is not None and adapter is None and model in (None, *server.models):
        return service.settings_for_server(config, model or next(iter(server.models), ""))
    safety = config.safety.model_dump(mode="json") if config is not None else None
    return service.settings_for(adapter, model or "starter", safety)


def _ask(desk: _Desk, talk: Conversation, message: str, *, as_json: bool, release: str | None) -> None:
    warn_of_phi(message, desk.settings)
    talk, last = desk.say(talk, message, shown=not as_json)
    if desk.keeps:
        talk = desk.keep(talk, asked_for=True)
    if as_json:
        kept = {"conversation": talk.chat_id} if talk.kept else {}
        print_json({**last.as_dict(), "release": release, **kept})
    if last.error:
        raise RunFailedError(last.error)


def _converse(desk: _Desk, talk: Conversation) -> None:
    while True:
        try:
            message = input("you: ").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not message:
            break
        named = sys.stdin.isatty() and warn_of_phi(message, desk.settings)
        if named and input("Send it anyway? (y/n) ").strip() != "y":
            continue
        try:
            talk, last = desk.say(talk, message, shown=True)
        except UserError as error:
            print(error, file=sys.stderr)
            continue
        talk = desk.keep(talk, asked_for=desk.keeps)
        if last.error:
            print(last.error, file=sys.stderr)
    if talk.kept:
        print(f"kept as {talk.chat_id}", file=sys.stderr)


def warn_of_phi(message: str, settings: ChatSettings) -> bool:
    """Say on stderr that a message looks as if it named a person, without quoting it; whether it does."""
    kinds = list(dict.fromkeys(span.kind.replace("_", " ") for span in find_phi(message)))
    if kinds:
        where = f"It goes to {settings.remote_host}" if settings.remote_host else "It stays on this machine"
        print(f"This may identify a person: {', '.join(kinds)}. {where}.", file=sys.stderr)
    return bool(kinds)


def _stream(
    service: ChatService,
    turns: list[dict[str, str]],
    settings: ChatSettings,
    *,
    shown: bool,
    chat_id: str,
) -> ChatUpdate:
    """Print what was judged as it comes; Ctrl-C stops the answer."""
    last: ChatUpdate | None = None
    printed = ""
    for update in service.reply(chat_id, turns, settings):
        last = update
        if shown and update.text.startswith(printed):
            print(update.text[len(printed) :], end="", flush=True)
            printed = update.text
        elif shown:
            print(f"\n{update.text}", end="", flush=True)
            printed = update.text
    if last is None:
        raise RunFailedError("chat: no answer came")
    if shown:
        print(f"\n[{last.level}, {last.action}; {_label(last)}]", flush=True)
    return last


def _label(update: ChatUpdate) -> str:
    return update.label or "no model was asked"
