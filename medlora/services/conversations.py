"""Kept conversations: only on somebody's wish, each owner's own, deleted for good.

Off until it is switched on; a switch turned off again keeps nothing new and leaves what is there to be
deleted by hand. What is kept may hold what came from patients: it lies in the private folder, unencrypted
as the datasets do, and is never logged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from medlora.dataset.store import clean_title
from medlora.errors import UserError
from medlora.history import store
from medlora.history.store import Kept, Turn
from medlora.services.chat_log import Conversation, Line, line_details, read_line
from medlora.services.chat_turn import ChatUpdate
from medlora.workspace import Workspace

__all__ = [
    "Kept",
    "delete",
    "delete_all",
    "export_jsonl",
    "export_markdown",
    "file_name",
    "is_kept",
    "keep",
    "list_kept",
    "rename",
    "reopen",
    "show",
    "switch",
    "take_back",
]

_UNANSWERED = "This was not answered before the page or medlora was closed; ask again."
FORMATS = ("md", "jsonl")


# The wish
def is_kept(ws: Workspace, owner: str) -> bool:
    """Whether this owner's conversations are kept from now on."""
    return store.reads_wish(ws, owner)


def switch(ws: Workspace, owner: str, on: bool) -> None:
    """Keep this owner's conversations from now on, or no longer; what was kept stays until it is deleted."""
    store.write_wish(ws, owner, on)


# Keep
def keep(ws: Workspace, owner: str, talk: Conversation, *, asked_for: bool = False) -> Conversation:
    """The conversation as it stands goes into the history, if its owner wishes that (or it was asked for).

    One that was kept before and is gone was deleted, perhaps on another page: it does not come back.
    """
    if not talk.lines or not (asked_for or is_kept(ws, owner)):
        return talk
    turns = tuple(Turn(line.role, line.content, line_details(line)) for line in talk.lines)
    kept = Kept(talk.chat_id, owner, speakers=talk.speakers, turns=turns)
    return replace(talk, kept=store.save(ws, kept, only_if_there=talk.kept) or talk.kept)


def take_back(ws: Workspace, owner: str, before: Conversation) -> None:
    """A question that could not be asked leaves no trace: the conversation is kept as it was before."""
    if before.lines:
        keep(ws, owner, before)
    elif is_kept(ws, owner):
        store.delete(ws, owner, [before.chat_id])


# Look
def list_kept(ws: Workspace, owner: str | None, search: str = "") -> list[Kept]:
    """Conversations, the latest first; all owners' with None."""
    return store.find(ws, owner, search)


def show(ws: Workspace, owner: str | None, conversation_id: str) -> Kept:
    """One with its turns.

    Raises: NotFoundError, also for one of somebody else.
    """
    return store.read(ws, owner, conversation_id)


def reopen(ws: Workspace, owner: str | None, conversation_id: str) -> Conversation:
    """One to go on with. Its turns are judged anew when it does.

    Raises: NotFoundError.
    """
    lines: list[Line] = []
    for turn in store.read(ws, owner, conversation_id).turns:
        lines.append(read_line(turn.role, turn.content, turn.details, lines))
    if lines and lines[-1].role == "user":
        lines.append(Line("assistant", "", ChatUpdate(done=True, error=_UNANSWERED)))
    return Conversation(conversation_id, tuple(lines), kept=True)


# Change
def rename(ws: Workspace, owner: str | None, conversation_id: str, name: str) -> str:
    """Give it a name; the name as it is kept.

    Raises: UserError for an empty name; NotFoundError.
    """
    cleaned = clean_title(name) if name.strip() else ""
    if not cleaned:
        raise UserError("conversation: its name is missing; write one")
    store.rename(ws, owner, conversation_id, cleaned)
    return cleaned


def delete(ws: Workspace, owner: str | None, ids: Sequence[str]) -> int:
    """Delete for good; how many.

    Raises: NotFoundError when none of them is there.
    """
    gone = store.delete(ws, owner, ids)
    if not gone:
        store.read(ws, owner, ids[0] if ids else "")
    return gone


def delete_all(ws: Workspace, owner: str | None) -> int:
    """Delete every conversation of an owner for good, of all with None; how many."""
    return store.delete(ws, owner, [kept.conversation_id for kept in store.find(ws, owner)])


# Hand out
def file_name(kept: Kept, kind: str) -> str:
    """A name for its file that says when it was, and nothing of what was said."""
    when = re.sub(r"[^0-9]", "-", kept.created[:16])
    return f"conversation-{when}.{kind}"


def export_jsonl(kept: Sequence[Kept]) -> str:
    """One conversation a line, in the shape that datasets have: `messages`, with what is known beside it."""
    return "".join(json.dumps(_as_row(each), ensure_ascii=False) + "\n" for each in kept)


def export_markdown(kept: Sequence[Kept]) -> str:
    """Conversations to read and to print."""
    return "\n---\n\n".join(_as_markdown(each) for each in kept)


def _as_row(kept: Kept) -> dict[str, object]:
    return {
        "messages": [{"role": turn.role, "content": turn.content} for turn in kept.turns],
        "id": kept.conversation_id,
        "name": kept.name,
        "created": kept.created,
        "changed": kept.changed,
        "answers": [_about(line) for line in _lines(kept) if line.role == "assistant"],
    }


def _about(line: Line) -> dict[str, object]:
    update = line.update
    about: dict[str, object] = {
        "by": _said_by(line),
        "level": update.level if update else "answer",
        "action": update.action if update else "answer",
    }
    if line.sides:
        about["sides"] = [{"by": _said_by(side), "content": side.content} for side in line.sides]
    return about


def _said_by(line: Line) -> str:
    if line.fixed or line.update is None or line.update.label is None:
        return "fixed text of the safety layer"
    return line.update.label


def _lines(kept: Kept) -> list[Line]:
    return [read_line(turn.role, turn.content, turn.details, ()) for turn in kept.turns]


def _as_markdown(kept: Kept) -> str:
    parts = [f"# {_inert(kept.name)}", f"{kept.created[:16].replace('T', ' ')} UTC. No medical advice."]
    for line in _lines(kept):
        if line.role == "user":
            parts.append(f"## Question\n\n{_inert(line.content)}")
            continue
        for side in line.sides or (line,):
            asides = [*side.update.notes, *side.update.notices] if side.update else []
            notes = "".join(f"\n\n> {_inert(note)}" for note in asides)
            parts.append(f"### {_inert(_said_by(side))}\n\n{_inert(side.content)}{notes}")
    return "\n\n".join(parts) + "\n"


def _inert(text: str) -> str:
    """Words that no reader of Markdown turns into a picture, a link or a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("[", "\\[")
