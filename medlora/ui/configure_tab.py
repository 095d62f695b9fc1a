"""The Configure tab: a template, its text with live problems, a form, and where each value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import configure
from medlora.services.configure import ANY_DATASET
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, row, words
from medlora.ui.configure_form import build_fields, fill_fields, show_overridden
from medlora.ui.configure_view import show_forecast, show_origins, show_problems
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.fit_box import FitBox, build_fit_box, wire_fit_box
from medlora.workspace import Workspace

Update = Any


@dataclass(frozen=True)
class ConfigureTab:
    """The widgets of the tab; `fields` has one widget per key of the form."""

    template: gr.Dropdown
    audience: gr.HTML
    replace: Confirmation
    remedies: dict[str, gr.Button]
    text: gr.Code
    problems: gr.HTML
    forecast: gr.HTML
    fit: FitBox
    visited: gr.State
    seen: gr.State
    origins: gr.HTML
    overridden: gr.HTML
    fields: dict[str, Any]
    save_name: gr.Textbox
    save: gr.Button
    saved: gr.HTML
    export: Download
    reset: gr.Button
    next: gr.Button

    @property
    def drawn(self) -> list[Any]:
        """What follows from the text, in the order of `draw`."""
        return [self.problems, self.origins, self.overridden, *self.fields.values()]

    @property
    def opened(self) -> list[Any]:
        """What `open_draft` fills."""
        return [self.template, self.audience, self.text, *self.drawn]


# Handlers


def template_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Every template that a configuration may begin as: (what people read, name)."""
    kinds = ("model", "yours", "environment")
    return [(item.title, item.name) for item in configure.list_templates(workspace) if item.kind in kinds]


def show_audience(workspace: Workspace, name: str) -> str:
    """Whom a template is for."""
    found = [item.audience for item in configure.list_templates(workspace) if item.name == name]
    return (
        f'<p class="ml-small">{present.text(found[0][:1].upper() + found[0][1:])}</p>'
        if found and found[0]
        else ""
    )


def draw(workspace: Workspace, text: str) -> list[Update]:
    """What follows from a text at once: problems, origins, the form."""
    examined = configure.examine(workspace, text, ANY_DATASET)
    return [
        show_problems(examined.problems, examined.notices),
        show_origins(examined.origins),
        show_overridden(workspace, text),
        *fill_fields(workspace, text),
    ]


def draw_forecast(workspace: Workspace, text: str) -> str:
    """The memory a run would take. Apart from `draw`: the first answer waits for the hardware."""
    examined = configure.examine(workspace, text, ANY_DATASET)
    if examined.resolved is None:
        return present.empty("Not known yet", "Mend the problems first.")
    try:
        return show_forecast(configure.estimate(workspace, examined.resolved.config))
    except UserError as error:
        return present.notice("info", "The memory is not known yet", str(error))


def trace_memory(workspace: Workspace, text: str) -> Update:
    """The exact forecast in the place of the counted one; takes some seconds the first time."""
    examined = configure.examine(workspace, text, ANY_DATASET)
    if examined.resolved is None:
        return gr.skip()
    try:
        known = configure.estimate(workspace, examined.resolved.config)
        if known.source == "traced":
            return gr.skip()
        return show_forecast(configure.estimate(workspace, examined.resolved.config, wait=True))
    except UserError:
        return gr.skip()


def is_edited(workspace: Workspace) -> bool:
    """Whether the draft holds more than the template it began as."""
    draft = configure.load_draft(workspace)
    try:
        return draft.text.strip() != configure.read_template(workspace, draft.template).strip()
    except UserError:
        return True


def begin(workspace: Workspace, name: str) -> list[Update]:
    """The draft anew from a template: its text, and whom it is for."""
    return [configure.start_draft(workspace, name).text, show_audience(workspace, name)]


def choose(workspace: Workspace, name: str) -> list[Update]:
    """A template was chosen; what was changed is asked for first.

    Why nothing for the one that stands: Gradio also tells when the list was only looked at.
    """
    if name == configure.load_draft(workspace).template:
        return [gr.skip()] * 4
    return begin_again(workspace, name)


def begin_again(workspace: Workspace, name: str) -> list[Update]:
    """The draft anew from that template, even if it is the one that stands."""
    if is_edited(workspace):
        question = "<p>You changed this configuration. Replace it with the template?</p>"
        return [gr.skip(), gr.skip(), gr.update(visible=True), question]
    return [*begin(workspace, name), gr.update(visible=False), gr.skip()]


def open_draft(workspace: Workspace) -> list[Update]:
    """The tab as it was left: the choice of templates, the text, and what follows from it."""
    draft = configure.load_draft(workspace)
    choices = template_choices(workspace)
    chosen = gr.update(choices=choices, value=draft.template)
    return [chosen, show_audience(workspace, draft.template), draft.text, *draw(workspace, draft.text)]


def open_first(workspace: Workspace, visited: bool) -> list[Update]:
    """Visited, the text, and the tab as it was left, when a page first opens it; later nothing."""
    if visited:
        return []
    chosen, audience, text, *drawn = open_draft(workspace)
    return [True, text, chosen, audience, gr.update(value=text, visible=True), *drawn]


def export_text(text: str) -> Path:
    """The text as a file to keep."""
    path = new_download("config.yaml")
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


# Layout and wiring


def build_configure_tab(workspace: Workspace) -> ConfigureTab:
    """Render the tab's widgets."""
    words(
        present.lead(
            "Configure", "Begin with a template that suits your machine. Most people change nothing else."
        )
    )
    with row():
        with gr.Column(scale=3, min_width=300, elem_classes="ml-narrow"):
            with card():
                template = gr.Dropdown(
                    template_choices(workspace), value=None, label="Template", elem_id="config-template",
                    filterable=False,
                )  # fmt: skip
                audience = words(elem_id="config-audience")
                replace = confirmation("Replace my changes", "Keep them", "config-replace")
                problems = words(elem_id="config-problems")
                text = gr.Code(
                    language="yaml", label="Configuration", interactive=True, lines=18, max_lines=32,
                    elem_id="config-text", elem_classes="ml-editor", buttons=[], wrap_lines=True,
                    visible=False,
                )  # fmt: skip
                words('<p class="ml-small">In trouble? Lay a remedy over it:</p>')
                with actions():
                    found = [item for item in configure.list_templates(workspace) if item.kind == "remedy"]
                    remedies = {item.name: gr.Button(item.title, size="sm") for item in found}
                with actions():
                    next_tab = gr.Button("Continue to Train", variant="primary", elem_id="config-next")
                    export = download("Download", "config-export")
                    reset = gr.Button(
                        "Begin again from the template", elem_classes="ml-quiet", elem_id="config-reset"
                    )
                with gr.Accordion("Save as a template", open=False, elem_classes="ml-group"):
                    with gr.Row(elem_classes="ml-actions"):
                        save_name = gr.Textbox(
                            label="Name", placeholder="clinic-letters", max_length=64, elem_classes="ml-grow",
                            elem_id="config-save-name",
                        )  # fmt: skip
                        save = gr.Button("Save", elem_id="config-save")
                    saved = words(elem_id="config-saved")
            with card():
                words(present.heading("Memory"))
                forecast = words(elem_id="config-memory")
                fit = build_fit_box()
        with card(scale=2):
            words(present.heading("Settings", "The same as in the text; each change is written into it."))
            overridden = words()
            fields = build_fields(workspace)
    with card():
        words(present.heading("Every value and where it comes from"))
        origins = words(elem_id="config-origins")
    return ConfigureTab(
        template=template, audience=audience, replace=replace, remedies=remedies, text=text,
        problems=problems, forecast=forecast, origins=origins, overridden=overridden, fields=fields,
        fit=fit, visited=gr.State(False), seen=gr.State(""),
        save_name=save_name, save=save, saved=saved, export=export, reset=reset, next=next_tab,
    )  # fmt: skip


def wire_configure_tab(tab: ConfigureTab, workspace: Workspace) -> None:
    """What each change does; the text is the source, the form writes into it."""

    def follow(text: str, seen: str) -> list[Update]:
        if text == seen:  # drawn as the tab was opened: drawn again it would take back what is typed by now
            return [gr.skip()] * (len(tab.drawn) + 1)
        configure.save_draft(workspace, text)
        return [*draw(workspace, text), text]

    def agree(name: str) -> list[Update]:
        return [*begin(workspace, name), gr.update(visible=False), gr.skip()]

    def keep() -> list[Update]:
        return [configure.load_draft(workspace).template, gr.update(visible=False)]

    def save(name: str, text: str) -> list[Update]:
        made = configure.save_template(workspace, name, text)
        kept = configure.start_draft(workspace, made.name).text
        note = present.notice("info", f"Saved as {made.title}", "You find it among the templates.")
        return [note, gr.update(choices=template_choices(workspace), value=made.name), kept]

    chosen = [tab.text, tab.audience, tab.replace.box, tab.replace.question]
    tab.text.change(
        guarded(follow), [tab.text, tab.seen], [*tab.drawn, tab.seen], trigger_mode="always_last", **POLL
    )
    tab.text.change(
        guarded(lambda text: draw_forecast(workspace, text)), tab.text, tab.forecast,
        trigger_mode="always_last", **POLL,
    ).then(
        guarded(lambda visited, text: trace_memory(workspace, text) if visited else gr.skip()),
        [tab.visited, tab.text], tab.forecast, **POLL,
    )  # fmt: skip
    wire_fit_box(tab.fit, tab.text, workspace)
    tab.template.input(guarded(lambda name: choose(workspace, name)), tab.template, chosen, **POLL)
    tab.reset.click(guarded(lambda name: begin_again(workspace, name)), tab.template, chosen, **POLL)
    tab.replace.yes.click(guarded(agree), tab.template, chosen, **POLL)
    tab.replace.no.click(guarded(keep), None, [tab.template, tab.replace.box], **POLL)
    for name, button in tab.remedies.items():
        button.click(guarded(_lay(workspace, name)), tab.text, tab.text, **POLL)
    _wire_fields(tab, workspace)
    tab.save.click(guarded(save), [tab.save_name, tab.text], [tab.saved, tab.template, tab.text], **SILENT)
    tab.export.wire(export_text, [tab.text])


def _lay(workspace: Workspace, name: str) -> Any:
    return lambda text: configure.lay_over(workspace, text, name)


def _wire_fields(tab: ConfigureTab, workspace: Workspace) -> None:
    """One event for all the fields; it tells which of them it was."""
    # Why by element: Gradio makes a widget that was updated anew, with another number.
    keys = {widget.elem_id: (key, place) for place, (key, widget) in enumerate(tab.fields.items())}

    def write(event: gr.EventData, text: str, *values: Any) -> str:
        if event.target is None:
            return text
        key, place = keys[event.target.elem_id]
        return configure.apply_form(workspace, text, {key: values[place]})

    changes = [_change_by_user(widget) for widget in tab.fields.values()]
    asked = [tab.text, *tab.fields.values()]
    gr.on(changes, guarded(write), asked, tab.text, trigger_mode="multiple", **POLL)


def _change_by_user(widget: Any) -> Any:
    """The event that only a person causes, not the form being filled. Enter is made a `blur`."""
    return widget.blur if isinstance(widget, gr.Textbox) else widget.input
