"""The few building blocks that every tab is laid out with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr


def words(value: str = "", *, elem_id: str | None = None, visible: bool = True) -> gr.HTML:
    """A place for our own HTML (already escaped), without Gradio's prose style."""
    return gr.HTML(value, elem_id=elem_id, visible=visible, apply_default_css=False, elem_classes="ml-plain")


def card(*, scale: int = 1, visible: bool = True, elem_id: str | None = None) -> gr.Column:
    """A card: use it as a context."""
    return gr.Column(elem_classes="ml-card", scale=scale, min_width=300, visible=visible, elem_id=elem_id)


def row() -> gr.Row:
    """Cards side by side; below each other on a narrow screen."""
    return gr.Row(elem_classes="ml-row")


def actions(*, visible: bool = True) -> gr.Row:
    """Buttons in a line, as wide as their words."""
    return gr.Row(elem_classes="ml-actions", visible=visible)


@dataclass(frozen=True)
class Confirmation:
    """A question that a destructive button opens, with its two answers."""

    box: gr.Column
    question: gr.HTML
    yes: gr.Button
    no: gr.Button


def confirmation(yes: str, no: str, elem_id: str) -> Confirmation:
    """The question, closed; `ask` opens it."""
    with gr.Column(elem_classes="ml-confirm", visible=False, elem_id=elem_id) as box:
        question = words()
        with actions():
            agree = gr.Button(yes, variant="stop", size="md", elem_id=f"{elem_id}-yes")
            keep = gr.Button(no, size="md", elem_id=f"{elem_id}-no")
    return Confirmation(box, question, agree, keep)


def pick(choices: Sequence[tuple[str, str]], value: str | None) -> dict[str, Any]:
    """An update of a choice: the value stays if it is still there, else the first one is taken."""
    keys = [key for _, key in choices]
    chosen = value if value in keys else (keys[0] if keys else None)
    return gr.update(choices=list(choices), value=chosen)


def keep_choice(update: dict[str, Any], value: str | None) -> dict[str, Any]:
    """The update of a choice without its value, as long as the one that was looked at still stands.

    Why: a look at the disk answers a moment later. By then the visitor, or a press of Start, may have
    chosen another one, and the answer must not take that back.
    """
    if value is None or update.get("value") != value:
        return update
    return {key: kept for key, kept in update.items() if key != "value"}
