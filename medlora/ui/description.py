"""What the page tells the browser of its widgets and events: made once, and without what no browser reads.

Why: Gradio makes it five times over while the app starts, and sends with every widget what its own Python
client would like to know of it, most of it three times.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import BlocksConfig

_SAME_AGAIN = ("api_info_as_input", "api_info_as_output")
"""Gradio looks into `api_info` where they are not given."""
_UNREAD = ("preserved_by_key", "name")
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
    widget.pop("example_inputs", None)
    properties = widget["props"]
    for key in _UNREAD:
        properties.pop(key, None)
    for key in _READ_IF_SET:
        if properties.get(key) is False:
            del properties[key]
    for key in _SAME_AGAIN:
        if key in widget and widget[key] == widget.get("api_info"):
            del widget[key]
