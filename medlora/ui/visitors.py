"""What a visitor sees: every tab for an admin, their own for a tester or a guest.

Why: a courtesy. What nobody may do is refused where it is done, whatever the page shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from medlora.access.roles import OWNER, Caller, Permission
from medlora.ui.events import POLL, current_caller, guarded

_TAB_NEEDS = {
    "data": Permission.WATCH,
    "train": Permission.WATCH,
    "chat": Permission.CHAT,
    "safety": Permission.WATCH,
}


def visible_tabs(caller: Caller, names: list[str]) -> list[bool]:
    """Which of these tabs the caller sees."""
    return [caller.may(_TAB_NEEDS.get(name, Permission.MANAGE)) for name in names]


def show_tabs(names: list[str]) -> list[Any]:
    """The tabs, then the strip: who sees all of them stays there, anybody else begins at the chat."""
    caller = current_caller() or OWNER
    if caller.may(Permission.MANAGE):
        return [gr.skip()] * (len(names) + 1)
    seen = visible_tabs(caller, names)
    return [*(gr.Tab(visible=visible) for visible in seen), gr.Tabs(selected="chat")]


def account_name() -> str:
    """Who is logged in; empty where nobody has to."""
    caller = current_caller()
    return caller.name if caller is not None else ""


def wire_visitors(demo: gr.Blocks, strip: gr.Tabs, tabs: Mapping[str, gr.Tab]) -> None:
    """Show each visitor their tabs when the page opens."""
    names = list(tabs)
    demo.load(guarded(lambda: show_tabs(names), needs=Permission.CHAT), None, [*tabs.values(), strip], **POLL)
