"""The form of the Configure tab: one widget per setting people change, with its help beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import gradio as gr

from medlora.services import configure
from medlora.services.configure_form import FORM_GROUPS, FORM_KEYS
from medlora.ui import present
from medlora.workspace import Workspace

_OPEN_GROUPS = ("Model", "How much is learned")
Update = Any


def build_fields(workspace: Workspace) -> dict[str, Any]:
    """Render a widget per setting, in accordions by group; key → widget."""
    shapes = {
        field.key: field
        for field in configure.form_values(workspace, configure.read_template(workspace, "starter"))
    }
    widgets: dict[str, Any] = {}
    for group, keys in FORM_GROUPS.items():
        with gr.Accordion(group, open=group in _OPEN_GROUPS, elem_classes="ml-group"):
            for key in keys:
                widgets[key] = _widget(shapes[key])
    return widgets


def _widget(field: configure.FormField) -> Any:
    label = f"{field.label} ({field.unit})" if field.unit else field.label
    shared: dict[str, Any] = {"label": label, "info": field.help, "elem_id": field_id(field.key)}
    if field.kind == "switch":
        return gr.Checkbox(**shared)
    if field.kind == "choice":
        return gr.Dropdown([*field.choices], filterable=False, **shared)
    if field.choices:
        return gr.Dropdown(offer_words(field.choices), allow_custom_value=True, **shared)
    lines = {"long text": 6, "list": 3}.get(field.kind, 1)
    most = max(lines, 12) if lines > 1 else 1
    return gr.Textbox(lines=lines, max_lines=most, elem_classes="ml-enter", **shared)


def field_id(key: str) -> str:
    """The element id of a setting's widget."""
    return f"set-{key.replace('.', '-').replace('_', '-')}"


def show_value(value: Any) -> Any:
    """A setting's value as its widget takes it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return "\n".join(str(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else value


def fill_fields(workspace: Workspace, text: str) -> list[Update]:
    """The form as the text fills it; unchanged while the text has errors."""
    fields = configure.form_values(workspace, text, env=os.environ)
    if not fields:
        return [gr.skip()] * len(FORM_KEYS)
    return [_fill(field) for field in fields]


def offer_words(choices: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Why: where other values may be typed, Gradio takes each one for a text, and breaks on a number."""
    return [(label, str(show_value(value))) for label, value in choices]


def _fill(field: configure.FormField) -> Update:
    if field.choices and field.kind == "choice":
        return gr.update(value=field.value)
    if field.choices:
        return gr.update(value=str(show_value(field.value)))
    return gr.update(value=show_value(field.value))


def show_overridden(workspace: Workspace, text: str) -> str:
    """Which settings the environment decides, whatever the form says."""
    fields = configure.form_values(workspace, text, env=os.environ)
    said = [f"{field.label} (by {field.overridden})" for field in fields if field.overridden]
    return present.notice("info", "The environment decides", ", ".join(said)) if said else ""
