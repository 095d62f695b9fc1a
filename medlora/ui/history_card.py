"""Conversations that are kept: a calm list beside the chat; open, search, rename, export, delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.errors import UserError
from medlora.services import conversations
from medlora.services.chat import ChatService
from medlora.services.chat_log import Conversation
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, pick, words
from medlora.ui.chat_speakers import chat_speakers
from medlora.ui.chat_turns import history_owner
from medlora.ui.chat_view import show_bubbles
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL
from medlora.ui.events import for_chat as guarded

MOST_SHOWN = 30
_SHOWN_NAME = 60
Update = Any


@dataclass(frozen=True)
class HistoryCard:
    """The widgets of the card."""

    box: gr.Column
    keeps: gr.Checkbox
    shelf: gr.Column
    search: gr.Textbox
    listed: gr.Radio
    note: gr.HTML
    tools: gr.Column
    name: gr.Textbox
    rename: gr.Button
    exports: tuple[Download, Download]
    delete: gr.Button
    delete_all: gr.Button
    sure: Confirmation
    doomed: gr.State

    @property
    def drawn(self) -> list[Any]:
        return [
            self.box,
            self.keeps,
            self.shelf,
            self.listed,
            self.note,
            self.tools,
            self.name,
            self.sure.box,
        ]


@dataclass(frozen=True)
class Shelf:
    """The card's handlers on their service."""

    service: ChatService

    def draw(self, talk: Conversation | None, search: str | None, ticked: bool | None = None) -> list[Update]:
        """The card as it stands for whoever looks. Why no search: a page that still loads has none.

        ticked: the switch when the look began. Where it was right it is left alone, since a look that
        answers late must not take back what was pressed meanwhile.
        """
        search = (search or "").strip()
        owner = history_owner(self.service)
        if owner is None:
            return [gr.update(visible=False), *[gr.skip()] * 7]
        ws = self.service.workspace
        keeps, found = conversations.is_kept(ws, owner), conversations.list_kept(ws, owner, search)
        chosen = talk.chat_id if talk is not None else ""
        here = next((kept for kept in found if kept.conversation_id == chosen), None)
        choices = [(_label(kept), kept.conversation_id) for kept in found[:MOST_SHOWN]]
        listed = here is not None and chosen in {key for _, key in choices}
        return [
            gr.update(visible=True),
            gr.skip() if keeps is ticked else keeps,
            gr.update(visible=keeps or bool(found) or bool(search)),
            gr.update(choices=choices, value=chosen if listed else None, visible=bool(choices)),
            _note(keeps, len(found), search),
            gr.update(visible=here is not None),
            here.name if here is not None else "",
            gr.update(visible=False),
        ]

    def switch(self, on: bool, talk: Conversation | None) -> Conversation | None:
        """Keep from now on, what stands in the log included; or no longer."""
        owner = self._owner()
        conversations.switch(self.service.workspace, owner, on)
        return conversations.keep(self.service.workspace, owner, talk) if talk is not None else None

    def open(self, chosen: str | None, talk: Conversation | None) -> list[Update]:
        """A kept conversation in the log, with whoever answered in it last."""
        if not chosen:
            return [gr.skip()] * 3
        if talk is not None and talk.lines and talk.lines[-1].role == "user":
            raise UserError("chat: the last message is still being answered; wait, or press Stop")
        again = conversations.reopen(self.service.workspace, self._owner(), chosen)
        asked = again.speakers[0] if again.speakers else None
        choices = chat_speakers(self.service.workspace)
        known = asked in {key for _, key in choices}
        return [again, show_bubbles(again.lines), pick(choices, asked) if known else gr.skip()]

    def rename(self, talk: Conversation | None, name: str) -> None:
        """Another name for the one that is open."""
        conversations.rename(self.service.workspace, self._owner(), _chosen(talk), name)

    def export(self, talk: Conversation | None, kind: str) -> Path:
        """The one that is open, as a file."""
        kept = conversations.show(self.service.workspace, self._owner(), _chosen(talk))
        write = conversations.export_markdown if kind == "md" else conversations.export_jsonl
        path = new_download(conversations.file_name(kept, kind))
        path.write_text(write([kept]), encoding="utf-8")
        return path

    def ask_to_delete(self, talk: Conversation | None, everything: bool) -> list[Update]:
        """The question before it; which are meant stays behind it."""
        ws, owner = self.service.workspace, self._owner()
        found = conversations.list_kept(ws, owner)
        meant = [kept for kept in found if everything or kept.conversation_id == _chosen(talk)]
        if not meant:
            return [gr.update(visible=False), "", []]
        what = present.count(len(meant), "conversation") if everything else f"“{_shorten(meant[0].name)}”"
        question = (
            f"<p><strong>Delete {present.text(what)} for good?</strong> Ratings that you gave stay; "
            "they are deleted under Evaluate.</p>"
        )
        return [gr.update(visible=True), question, [kept.conversation_id for kept in meant]]

    def delete(self, doomed: list[str], talk: Conversation | None) -> list[Update]:
        """Delete them; the log is emptied if it shows one of them."""
        if doomed:
            conversations.delete(self.service.workspace, self._owner(), doomed)
        if talk is not None and talk.chat_id in doomed:
            self.service.stop(talk.chat_id)
            return [Conversation(), []]
        return [gr.skip(), gr.skip()]

    def _owner(self) -> str:
        owner = history_owner(self.service)
        if owner is None:
            raise UserError("conversation: nothing is kept here")
        return owner


def _chosen(talk: Conversation | None) -> str:
    return talk.chat_id if talk is not None else ""


def _label(kept: conversations.Kept) -> str:
    return f"{_shorten(kept.name)} · {_when(kept.changed)}"


def _shorten(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else name[: _SHOWN_NAME - 1].rstrip() + "…"


def _when(changed: str) -> str:
    """The day in words people use, by this machine's clock."""
    at = datetime.fromisoformat(changed).astimezone()
    today = datetime.now(UTC).astimezone().date()
    if at.date() == today:
        return f"{at:%H:%M}"
    return f"{at.day} {at:%B}" if at.year == today.year else f"{at.day} {at:%B %Y}"


def _note(keeps: bool, count: int, search: str) -> str:
    said = ""
    if search and not count:
        said = "None holds these words."
    elif not count:
        said = "None yet: the next message begins one." if keeps else ""
    elif count > MOST_SHOWN:
        said = f"The latest {MOST_SHOWN} of {count:,}; search for the others."
    elif not keeps:
        said = "Nothing new is kept; these stay until you delete them."
    return f'<p class="ml-small">{present.text(said)}</p>' if said else ""


# Layout and wiring


def build_history_card() -> HistoryCard:
    """Render the card, hidden until it is known who looks."""
    with card(visible=False, elem_id="history-card") as box:
        words(present.heading("Conversations", "A reload forgets what was said, unless you keep it."))
        keeps = gr.Checkbox(
            label="Keep my conversations",
            info="In medlora's private folder on its machine, unencrypted, until you delete them.",
            elem_id="history-keeps",
        )
        with gr.Column(visible=False) as shelf:
            search = gr.Textbox(
                label="Search conversations", show_label=False, placeholder="Search in what was said",
                max_lines=1, max_length=200, elem_id="history-search",
            )  # fmt: skip
            listed = gr.Radio(
                [], label="Kept conversations", show_label=False, container=False, elem_id="history-list",
                elem_classes="ml-shelf",
            )  # fmt: skip
            note = words(elem_id="history-note")
            with gr.Column(visible=False) as tools:
                name = gr.Textbox(label="Name", max_lines=1, max_length=80, elem_id="history-name")
                with actions():
                    rename = gr.Button("Rename", size="sm", elem_id="history-rename")
                    exports = (
                        download("Markdown", "history-md", size="sm"),
                        download("JSONL", "history-jsonl", size="sm"),
                    )
                    delete = gr.Button("Delete", size="sm", elem_id="history-delete")
            with actions():
                delete_all = gr.Button(
                    "Delete all", size="sm", elem_classes="ml-quiet", elem_id="history-delete-all"
                )
            sure = confirmation("Delete for good", "Keep", "history-sure")
    return HistoryCard(
        box, keeps, shelf, search, listed, note, tools, name, rename, exports, delete, delete_all, sure,
        gr.State([]),
    )  # fmt: skip


def wire_history_card(
    part: HistoryCard, talk: gr.State, log: gr.Chatbot, speaker: gr.Dropdown, service: ChatService
) -> None:
    """What each press does; the card follows the conversation."""
    shelf = Shelf(service)
    seen = [talk, part.search, part.keeps]

    def redraw(event: Any) -> None:
        event(guarded(shelf.draw, quiet=True), seen, part.drawn, **POLL)

    redraw(talk.change)
    part.search.change(guarded(shelf.draw, quiet=True), seen, part.drawn, trigger_mode="always_last", **POLL)
    redraw(part.keeps.input(guarded(shelf.switch), [part.keeps, talk], talk, **POLL).then)
    part.listed.input(guarded(shelf.open), [part.listed, talk], [talk, log, speaker], **POLL)
    for event in (part.rename.click, part.name.submit):
        redraw(event(guarded(shelf.rename), [talk, part.name], None, **POLL).success)
    for button, kind in zip(part.exports, conversations.FORMATS, strict=True):
        button.wire(lambda shown, kind=kind: shelf.export(shown, kind), [talk], needs=Permission.CHAT)
    asked = [part.sure.box, part.sure.question, part.doomed]
    part.delete.click(guarded(lambda shown: shelf.ask_to_delete(shown, False)), talk, asked, **POLL)
    part.delete_all.click(guarded(lambda shown: shelf.ask_to_delete(shown, True)), talk, asked, **POLL)
    part.sure.no.click(lambda: gr.update(visible=False), None, part.sure.box, **POLL)
    redraw(part.sure.yes.click(guarded(shelf.delete), [part.doomed, talk], [talk, log], **POLL).success)
