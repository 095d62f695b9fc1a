"""What a visitor sees: every tab for an admin, their own for a tester or a guest.

Why: a courtesy. What nobody may do is refused where it is done, whatever the page shows.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from medlora.access.roles import OWNER, Caller, Permission, Role
from medlora.ui import present
from medlora.ui.events import POLL, current_caller, guarded

_TABS = ("data", "configure", "train", "chat", "evaluate", "adapters", "safety")
_TAB_NEEDS = {
    "data": Permission.WATCH,
    "train": Permission.WATCH,
    "chat": Permission.CHAT,
    "evaluate": Permission.RATE,
    "safety": Permission.WATCH,
}
# The sections of the Evaluate tab that testers do not see.
ADMINS_SECTIONS = ("measure", "ratings")
_THUMBS = ("#chat-log button[aria-label=Like]", "#chat-log button[aria-label=Dislike]")

# The cards and buttons, on tabs that a guest sees, which only an admin may use.
_ADMINS_CARDS = (
    "data-upload",
    "train-start",
    "safety-write",
    "safety-change",
    "safety-score-shipped",
    "safety-verify",
)
_ADMINS_BUTTONS = (
    "data-remove",
    "data-rejects",
    "data-next",
    "train-stop",
    "train-discard",
    "train-resume",
    "train-up",
    "runs-note",
    "runs-keep-note",
    "runs-again",
    "runs-delete",
)
_ADMINS_ROWS = ("train-extend",)


def hidden_tabs(caller: Caller) -> list[str]:
    """Which tabs the caller does not see."""
    return [name for name in _TABS if not caller.may(_TAB_NEEDS.get(name, Permission.MANAGE))]


def show_tabs(banner: str) -> Any:
    """A style that hides what is not for this visitor.

    Why a style: Gradio 6.31 keeps a tab's button whatever an event says of its visibility.
    """
    caller = current_caller() or OWNER
    if caller.may(Permission.MANAGE):
        return gr.skip()
    hidden = hidden_tabs(caller)
    menu = [] if caller.may(Permission.WATCH) else ["#tabs .overflow-menu"]
    tabs = [f"#tabs [data-tab-id={name}]" for name in (*hidden, *ADMINS_SECTIONS)]
    thumbs = [] if caller.may(Permission.RATE) else [*_THUMBS]
    cards = [f".ml-card:has(#{name})" for name in _ADMINS_CARDS]
    buttons = [f"#{name}" for name in _ADMINS_BUTTONS]
    rows = [f".ml-actions:has(#{name})" for name in _ADMINS_ROWS]
    rule = ",".join([*tabs, *menu, *thumbs, *cards, *buttons, *rows])
    return f"<style>{rule}{{display:none!important}}</style>{banner}"


def show_banner(banner: tuple[str, str] | None) -> str:
    """Words that stand above every tab."""
    return present.notice("amber", *banner) if banner else ""


def is_kept_here() -> bool:
    """Whether what a visitor writes stays on their own machine or their own server: not in a public demo."""
    caller = current_caller()
    return caller is not None and caller.role is not Role.GUEST


def account_name() -> str:
    """Who is logged in; empty where nobody has to."""
    caller = current_caller()
    return caller.name if caller is not None else ""


def wire_visitors(demo: gr.Blocks, style: gr.HTML) -> None:
    """Show each visitor their own when the page opens, below the banner that stands there already."""
    banner = str(style.value or "")
    demo.load(guarded(lambda: show_tabs(banner), needs=Permission.CHAT), None, style, **POLL)
