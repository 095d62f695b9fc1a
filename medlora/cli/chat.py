"""`chat`: one message, or a conversation in the terminal; the same safety layer as on the page."""

from __future__ import annotations

import secrets
import sys
from dataclasses import replace
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, print_json
from medlora.cli.safety import safety_of
from medlora.dataset.phi import find_phi
from medlora.errors import RunFailedError, UserError
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.workspace import Workspace


def chat(
    adapter: Annotated[
        str | None, typer.Option(help="The adapter's name; without it the base model.")
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="The adapter's base model, without the adapter.")
    ] = False,
    model: Annotated[str, typer.Option(help="The base model, where no adapter names one.")] = "starter",
    message: Annotated[str | None, typer.Option(help="Ask this, print the answer and end.")] = None,
    config: Annotated[
        str | None, typer.Option(help="Obey the safety settings of this file too, such as its country.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Talk to an adapter behind the safety layer. Without --message: a conversation; empty line ends it."""
    if json and message is None:
        raise UserError("--json: it needs --message")
    service = ChatService(Workspace.open())
    try:
        settings = service.settings_for(adapter, model, safety_of(config))
        if base:
            settings = replace(settings, adapter=None)
        if message is None:
            _converse(service, settings)
        else:
            _ask(service, settings, message, as_json=json)
    finally:
        service.close()


def _ask(service: ChatService, settings: ChatSettings, message: str, *, as_json: bool) -> None:
    turns = [{"role": "user", "content": message}]
    warn_of_phi(message)
    last = _stream(service, turns, settings, shown=not as_json)
    if as_json:
        print_json(last.as_dict())
    if last.error:
        raise RunFailedError(last.error)


def _converse(service: ChatService, settings: ChatSettings) -> None:
    chat_id = secrets.token_hex(8)
    turns: list[dict[str, str]] = []
    while True:
        try:
            message = input("you: ").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not message:
            break
        if sys.stdin.isatty() and warn_of_phi(message) and input("Send it anyway? (y/n) ").strip() != "y":
            continue
        turns.append({"role": "user", "content": message})
        try:
            last = _stream(service, turns, settings, shown=True, chat_id=chat_id)
        except UserError as error:
            print(error, file=sys.stderr)
            turns.pop()
            continue
        turns.append({"role": "assistant", "content": last.text})
        if last.error:
            print(last.error, file=sys.stderr)


def warn_of_phi(message: str) -> bool:
    """Say on stderr that a message looks as if it named a person, without quoting it; whether it does."""
    kinds = list(dict.fromkeys(span.kind.replace("_", " ") for span in find_phi(message)))
    if kinds:
        print(f"This may identify a person: {', '.join(kinds)}. It stays on this machine.", file=sys.stderr)
    return bool(kinds)


def _stream(
    service: ChatService,
    turns: list[dict[str, str]],
    settings: ChatSettings,
    *,
    shown: bool,
    chat_id: str | None = None,
) -> ChatUpdate:
    """Print what was judged as it comes; Ctrl-C stops the answer."""
    chat_id = chat_id or secrets.token_hex(8)
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
        print(f"\n[{last.level}, {last.action}; {last.label or 'no model was asked'}]", flush=True)
    return last
