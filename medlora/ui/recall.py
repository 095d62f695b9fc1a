"""The page as its visitor left it: the tab, the choices, the settings of a chat, what was typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from medlora.access.roles import OWNER, Permission
from medlora.errors import UserError
from medlora.services import adapters, data
from medlora.services.chat import ChatService
from medlora.ui import chat_speakers, chat_turns, data_report, data_tab, guide, new_run, train_tab
from medlora.ui.blocks import pick
from medlora.ui.events import POLL, current_caller, for_chat, guarded
from medlora.ui.remembered import (
    ADAPTER,
    DATASET,
    MEASURED,
    RUN,
    SECTION,
    SPEAKER,
    TAB,
    TRAINED_ON,
    Kept,
    begin_to_keep_fields,
    forget_fields,
    keep_typed,
    read_kept,
    recalled,
    remember_choice,
    remember_fields,
    remember_selected,
    remember_this,
    replace_memory,
)
from medlora.ui.visitors import ADMINS_SECTIONS, hidden_tabs
from medlora.workspace import Workspace

if TYPE_CHECKING:
    from medlora.ui.chat_tab import ChatTab
    from medlora.ui.page import Tabs

ROWS_READ_AGAIN = 20_000
"""A dataset of at most so many rows is looked at again when the page opens; larger ones wait for a click."""
Update = Any


@dataclass(frozen=True)
class Strips:
    """The strip of tabs, and that of the Evaluate tab's sections."""

    tabs: gr.Tabs
    sections: gr.Tabs

    @property
    def both(self) -> list[gr.Tabs]:
        return [self.tabs, self.sections]


# Handlers


def choose_tab(kept: Kept, running: bool) -> list[Update]:
    """The page opens where it was left; the first time at the run if one is going. And the section there.

    Testers and guests begin at the chat and at the blind comparison. Where nothing is known, nothing moves
    under the visitor's hand.
    """
    caller = current_caller() or OWNER
    manages = caller.may(Permission.MANAGE)
    begin = ("train" if running else None, None) if manages else ("chat", "compare")
    tab, section = kept.name(TAB), kept.name(SECTION)
    if tab in hidden_tabs(caller):
        tab = None
    if not manages and section in ADMINS_SECTIONS:
        section = None
    return [gr.Tabs(selected=name) if name else gr.skip() for name in (tab or begin[0], section or begin[1])]


def open_datasets(workspace: Workspace, kept: Kept) -> list[Update]:
    """The list of datasets with the one that was looked at."""
    return data_tab.draw_stored(workspace, kept.name(DATASET))


def open_report(workspace: Workspace, kept: Kept, nothing: list[Update]) -> list[Update]:
    """That dataset as it stands now, unless reading it takes long."""
    name = kept.name(DATASET)
    try:
        if name is None or data.show_dataset(workspace, name).rows > ROWS_READ_AGAIN:
            return nothing
        return data_report.check_stored(workspace, name, lambda share: None)
    except UserError:
        return nothing


def open_training(workspace: Workspace, kept: Kept) -> list[Update]:
    """What was going to be trained on, or what was looked at in the Data tab."""
    return new_run.open_tab(workspace, kept.name(TRAINED_ON) or kept.name(DATASET))


def own_memory(workspace: Workspace, stored: object) -> Update:
    """A memory that belongs to whoever is logged in now; what another account left is wiped."""
    kept = guide.begin(workspace, read_kept(stored))
    return gr.skip() if kept == (stored or {}) else kept


def open_speaker(workspace: Workspace, kept: Kept) -> Update:
    """Who answered last."""
    speaker = kept.name(SPEAKER)
    choices = chat_speakers.chat_speakers(workspace)
    return pick(choices, speaker) if speaker in [key for _, key in choices] else gr.skip()


def open_adapters(workspace: Workspace, kept: Kept) -> list[Update]:
    """The adapters that were chosen on the Adapters tab and to be measured."""
    chosen, measured = kept.name(ADAPTER), kept.name(MEASURED)
    if not chosen and not measured:
        return [gr.skip()] * 3
    names = [(item.name, item.name) for item in adapters.list_adapters(workspace) if not item.problem]
    return [gr.update(visible=bool(names)), pick(names, chosen), pick(names, measured)]


# Wiring


def wire_recall(demo: gr.Blocks, tabs: Tabs, strips: Strips, memory: gr.JSON, chat: ChatService) -> Any:
    """Keep what is chosen, and bring it back when the page opens; returns the event that reads the memory."""
    _wire_keeping(tabs, strips)
    keep_typed(demo, {"message": tabs.chat.message, "tried": tabs.safety.message})
    workspace = chat.workspace

    def opened(open_part: Callable[..., Any], outputs: Any, **guards: Any) -> Any:
        handler = guarded(lambda stored: open_part(workspace, read_kept(stored)), **guards)
        return recalled(demo.load, handler, memory, outputs)

    watches: dict[str, Any] = {"needs": Permission.WATCH}
    train, drawn = tabs.train, tabs.data.drawn
    own = recalled(demo.load, for_chat(lambda stored: own_memory(workspace, stored)), memory, memory)
    opened(open_speaker, tabs.chat.speaker, needs=Permission.CHAT)
    listed = opened(open_datasets, [tabs.data.none_stored, tabs.data.stored], **watches)
    report = guarded(
        lambda kept: open_report(workspace, read_kept(kept), [gr.skip()] * len(drawn)), **watches
    )
    recalled(listed.then, report, memory, drawn)
    opened(open_training, train.offered)
    # The run that was looked at; the newest where it is not known.
    opened(lambda ws, kept: train_tab.draw_run(ws, kept.name(RUN), ""), train.drawn, **watches)
    library, measured = tabs.adapters, tabs.evaluate.measure.adapter
    opened(open_adapters, [library.box, library.chosen, measured])
    return replace_memory(own.then, memory)


def _wire_keeping(tabs: Tabs, strips: Strips) -> None:
    remember_selected(strips.tabs, TAB)
    remember_selected(strips.sections, SECTION)
    training, measured = tabs.train, tabs.evaluate.measure.adapter
    remember_choice(tabs.data.stored.change, DATASET, tabs.data.stored)
    remember_choice(training.dataset.input, TRAINED_ON, training.dataset)
    remember_choice(training.run.input, RUN, training.run)
    # A run that is started is the newest, which is what a page shows that remembers none.
    remember_this(training.start.click, RUN, "")
    remember_choice(tabs.adapters.chosen.input, ADAPTER, tabs.adapters.chosen)
    remember_choice(measured.input, MEASURED, measured)


def wire_fields(talk: ChatTab, described: Any, memory: gr.JSON, desk: chat_turns.Desk) -> None:
    """The settings written for a speaker stand again once it is described; a press brings back its own."""

    def overlay(stored: object, speaker: str | None, *fields: Any) -> list[Update]:
        return read_kept(stored).fields(speaker, fields) or [gr.skip()] * len(fields)

    remember_fields(talk.speaker, talk.fields)
    asked = [memory, talk.speaker, *talk.fields]
    begin_to_keep_fields(recalled(described.then, for_chat(overlay), asked, talk.fields), talk.speaker)
    forgotten = forget_fields(talk.own.click, talk.speaker)
    again = forgotten.then(for_chat(desk.describe), talk.speaker, [talk.banner, *talk.fields], **POLL)
    begin_to_keep_fields(again, talk.speaker)
