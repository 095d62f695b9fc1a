"""How long data is kept: a choice, what is older, and its end after a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.services import retention
from medlora.services.retention import Due
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, confirmation, words
from medlora.workspace import Workspace

_CHOICES = [
    ("Until somebody removes them", 0), ("30 days after their last use", 30),
    ("90 days after their last use", 90), ("180 days after their last use", 180),
    ("1 year after their last use", 365), ("3 years after their last use", 1095),
]  # fmt: skip
_KINDS = ("dataset", "run", "conversation", "file")
_SHOWN = 20
Update = Any


@dataclass(frozen=True)
class KeepingCard:
    """The widgets."""

    told: gr.HTML
    days: gr.Dropdown
    delete: gr.Button
    confirm: Confirmation

    @property
    def drawn(self) -> list[Any]:
        """What `draw_keeping` redraws."""
        return [self.told, self.days, self.delete]


def draw_keeping(workspace: Workspace) -> list[Update]:
    """The choice, and what is older than that."""
    days = retention.load(workspace).days or 0
    known = [value for _, value in _CHOICES]
    choices = _CHOICES if days in known else [*_CHOICES, (f"{present.count(days, 'day')}", days)]
    due = retention.find_due(workspace)
    return [_show_due(due, days), gr.update(choices=choices, value=days), gr.update(visible=bool(due))]


def _show_due(due: list[Due], days: int) -> str:
    if not days:
        return ""
    if not due:
        return present.notice("info", f"Nothing is older than {present.count(days, 'day')}")
    rows = [(item.kind, item.title, present.count(item.days, "day")) for item in due[:_SHOWN]]
    caption = f"{_count_kinds(due)} not used for more than {present.count(days, 'day')}"
    return present.table(("What", "Name", "Not used for"), rows, caption=caption)


def _count_kinds(due: list[Due]) -> str:
    amounts = {kind: sum(item.kind == kind for item in due) for kind in _KINDS}
    return ", ".join(present.count(amount, kind) for kind, amount in amounts.items() if amount)


def keep(workspace: Workspace, days: int) -> list[Update]:
    """Keep data for so many days from now on; 0 keeps it. Nothing is deleted by this."""
    retention.save(workspace, int(days) or None)
    return draw_keeping(workspace)


def ask(workspace: Workspace) -> list[Update]:
    """The question before what is due is gone."""
    due = retention.find_due(workspace)
    return [
        gr.update(visible=True),
        f"<p>Delete {_count_kinds(due) or 'nothing'} for good? Adapters stay.</p>",
    ]


def delete_due(workspace: Workspace) -> list[Update]:
    """Delete what is due."""
    retention.purge(workspace)
    return [gr.update(visible=False), *draw_keeping(workspace)]


def build_keeping_card() -> KeepingCard:
    """Render it, folded."""
    with gr.Accordion("How long data is kept", open=False, elem_classes="ml-group", elem_id="data-keep"):
        days = gr.Dropdown(
            _CHOICES, value=0, label="Keep datasets, runs and chats", filterable=False,
            elem_id="data-keep-days",
            info="What is older is listed here. It is deleted when you say so; adapters stay.",
        )  # fmt: skip
        told = words(elem_id="data-keep-due")
        with actions():
            delete = gr.Button(
                "Delete what is older", visible=False, elem_classes="ml-danger", elem_id="data-keep-delete"
            )
        confirm = confirmation("Delete for good", "Keep it", "data-keep-sure")
    return KeepingCard(told, days, delete, confirm)
