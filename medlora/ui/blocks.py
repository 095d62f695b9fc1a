"""The few building blocks that every tab is laid out with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.layouts.form import Form

from medlora.ui.present import text

_PRESS = "element.addEventListener('click', () => trigger('click'));"


def words(
    value: str = "", *, elem_id: str | None = None, visible: bool = True, pressed: bool = False
) -> gr.HTML:
    """A place for our own HTML (already escaped), without Gradio's prose style.

    pressed: that it is clicked is an event.
    """
    return gr.HTML(
        value, elem_id=elem_id, visible=visible, apply_default_css=False, elem_classes="ml-plain",
        js_on_load=_PRESS if pressed else None,
    )  # fmt: skip


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
class Answer:
    """One of the two answers; `click` wires it as it would a button's."""

    click: Callable[..., Any]


@dataclass(frozen=True)
class Confirmation:
    """A question that a destructive button opens, with its two answers.

    Why one widget: there is one in every corner of the page, and a page is slow by its number of widgets.
    """

    box: gr.HTML
    yes: Answer
    no: Answer

    @property
    def question(self) -> gr.HTML:
        """Where the words go; they stand in the box itself."""
        return self.box


_PRESS_ANSWER = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger(button.dataset.answer === 'agree' ? 'agree' : 'keep');
});"""


def confirmation(yes: str, no: str, elem_id: str, *, visible: bool = False) -> Confirmation:
    """The question, closed."""
    buttons = "".join(
        f'<button type="button" id="{elem_id}-{end}" data-answer="{answer}">{text(label)}</button>'
        for end, answer, label in (("yes", "agree", yes), ("no", "keep", no))
    )
    box = gr.HTML(
        "", html_template=f'${{value}}<div class="ml-answers">{buttons}</div>', visible=visible,
        elem_id=elem_id, apply_default_css=False, elem_classes=["ml-plain", "ml-confirm"],
        js_on_load=_PRESS_ANSWER,
    )  # fmt: skip
    return Confirmation(box, Answer(box.agree), Answer(box.keep))


def drop_lone_frames(demo: gr.Blocks) -> None:
    """Take away what lies around a single field or button and nobody sees in our cards.

    Why: a page is slow by its number of widgets, and these are a tenth of them.
    """
    told = {widget._id for event in demo.fns.values() for widget in event.outputs}
    for frame in list(demo.blocks.values()):
        parent = frame.parent
        if frame._id in told or not isinstance(parent, gr.Column | gr.Accordion):
            continue
        if not isinstance(frame, Form | gr.Row) or not _is_lone(frame):
            continue
        (child,) = frame.children
        if isinstance(frame, gr.Row):
            child.elem_classes = [*child.elem_classes, "ml-solo"]
        parent.children[parent.children.index(frame)] = child
        child.parent = parent
        del demo.blocks[frame._id]


def _is_lone(frame: Form | gr.Row) -> bool:
    """Whether it is a frame that Gradio put around one field, or a row of actions with one button."""
    if len(frame.children) != 1:
        return False
    if isinstance(frame, Form):
        return True
    return (
        bool(frame.visible) and frame.elem_classes == ["ml-actions"] and type(frame.children[0]) is gr.Button
    )


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
