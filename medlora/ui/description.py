"""What the page tells the browser of its widgets and events: made once, and without what no browser reads.

Why: Gradio makes it five times over while the app starts, and sends with every widget what its own Python
client would like to know of it, most of it three times.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import markupsafe
from gradio import routes
from gradio.blocks import BlocksConfig

_SAME_AGAIN = ("api_info_as_input", "api_info_as_output")
"""Gradio looks into `api_info` where they are not given."""
_UNREAD = ("preserved_by_key", "name")
_UNREAD_OF_WIDGET = ("example_inputs", "skip_api", "component_class_id")
"""The last names a component of one's own; without it the page takes the one of this type."""
_UNREAD_OF_EVENT = (
    "api_description",
    "batch",
    "max_batch_size",
    "collects_event_data",
    "types",
    "time_limit",
    "stream_every",
)
_EVENT_READ_IF_SET = (
    "js_implementation",
    "event_specific_args",
    "component_prop_inputs",
    "rendered_in",
    "render_id",
    "trigger_only_on_success",
    "trigger_only_on_failure",
    "scroll_to_output",
    "cancels",
)
_EVENT_READ_IF_GIVEN = ("js", "trigger_after", "show_progress_on")
_READ_IF_SET = ("_selectable", "_retryable", "_undoable", "likeable", "streamable")
"""Each property of each widget costs the page a signal of its own, and these are a quarter of them."""


class Description(BlocksConfig):
    """Gradio's own, kept until a widget or an event comes."""

    def __init__(self, root_block: gr.Blocks) -> None:
        super().__init__(root_block)
        self._made: tuple[tuple[int, int], dict[str, Any]] | None = None

    def get_config(self, renderable: Any = None) -> dict[str, Any]:
        """The description; Gradio copies it before it changes anything."""
        if renderable is not None:
            return super().get_config(renderable)
        size = (len(self.blocks), len(self.fns))
        if self._made is None or self._made[0] != size:
            config = super().get_config()
            for widget in config["components"]:
                _lighten(widget)
            for event in config["dependencies"]:
                _lighten_event(event)
            self._made = size, config
        return self._made[1]

    @staticmethod
    def config_for_block(
        _id: int, rendered_ids: list[int], block: Any, renderable: Any = None
    ) -> dict[str, Any]:
        """Nothing for a visitor's session, which knows of no other widgets.

        Why: Gradio describes all of them anew for every visitor, and keeps that for links we do not offer.
        """
        if not rendered_ids and renderable is None:
            return {}
        return BlocksConfig.config_for_block(_id, rendered_ids, block, renderable)


def _lighten(widget: dict[str, Any]) -> None:
    for key in _UNREAD_OF_WIDGET:
        widget.pop(key, None)
    if widget.get("key") is None:
        widget.pop("key", None)
    properties = widget["props"]
    for key in _UNREAD:
        properties.pop(key, None)
    for key in _READ_IF_SET:
        if properties.get(key) is False:
            del properties[key]
    for key in _SAME_AGAIN:
        if key in widget and widget[key] == widget.get("api_info"):
            del widget[key]


def _lighten_event(event: dict[str, Any]) -> None:
    """Without what is never read, or read as if it stood there when it does not.

    What follows another event is found by `trigger_after`. Its targets name no widget, and Gradio's page
    would look through all of them for it, twice.
    """
    for key in _UNREAD_OF_EVENT:
        event.pop(key, None)
    for key in _EVENT_READ_IF_SET:
        if not event.get(key):
            event.pop(key, None)
    for key in _EVENT_READ_IF_GIVEN:
        if event.get(key) is None:
            event.pop(key, None)
    event["targets"] = [target for target in event["targets"] if target[0] is not None]


UNWATCHED = """((page) => {
  class Plain extends Array {}
  for (const list of [page.components, page.dependencies]) Object.setPrototypeOf(list, Plain.prototype);
  return page;
})"""
"""Takes the description; what it returns Gradio's page reads without watching every part for changes.

Why: Svelte, which that page is made with, wraps every plain list and all that lies in it, and to look through
all events for each of the widgets then takes far longer. Lists of another class it leaves alone; these
two never change.
"""


def describe_unwatched() -> None:
    """From now on Gradio's page gets the description that way."""
    as_json = routes.toorjson

    def told(value: Any) -> markupsafe.Markup:
        text = as_json(value)
        whole = isinstance(value, dict) and {"components", "dependencies"} <= value.keys()
        return markupsafe.Markup(f"{UNWATCHED}({text})") if whole else text

    routes.templates.env.filters["toorjson"] = told
