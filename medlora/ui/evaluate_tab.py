"""The Evaluate tab: an adapter beside its base model, in figures and in answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.errors import UserError
from medlora.services import adapters, evaluate
from medlora.services.evaluate import EvaluationView, EvaluationWish
from medlora.ui import evaluation_view, present
from medlora.ui.blocks import actions, card, keep_choice, pick, row, words
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.new_run import dataset_choices
from medlora.workspace import Workspace

HELD_BACK = ""
NOTHING = present.empty(
    "Nothing measured yet",
    "Choose an adapter and press Measure. Its base model gets the same rows: the difference is the training.",
)
NO_ADAPTER = present.empty("No adapter yet", "Train one first: it can be measured as soon as its run ends.")
Update = Any


@dataclass(frozen=True)
class EvaluateTab:
    """The widgets of the tab."""

    adapter: gr.Dropdown
    dataset: gr.Dropdown
    rows: gr.Number
    answers: gr.Number
    longest: gr.Number
    forecast: gr.HTML
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    figures: gr.HTML
    drift: gr.HTML
    answered: gr.HTML
    seen: gr.State

    @property
    def drawn(self) -> list[Any]:
        return [self.stop, self.status, self.figures, self.drift, self.answered, self.seen]

    @property
    def asked(self) -> list[Any]:
        return [self.adapter, self.dataset, self.rows, self.answers, self.longest]


# Handlers


def open_tab(workspace: Workspace, adapter: str | None, dataset: str | None) -> list[Update]:
    """What can be measured now, and on what."""
    places = [("The rows held back from its training", HELD_BACK), *dataset_choices(workspace)]
    return [
        keep_choice(choose_adapter(workspace, adapter), adapter),
        keep_choice(pick(places, dataset), dataset),
    ]


def choose_adapter(workspace: Workspace, adapter: str | None) -> Update:
    """The adapters that can be measured, this one chosen."""
    names = [(item.name, item.name) for item in adapters.list_adapters(workspace) if not item.problem]
    return pick(names, adapter)


def start(
    workspace: Workspace,
    adapter: str | None,
    dataset: str | None,
    rows: float | None,
    answers: float | None,
    longest: float | None,
) -> None:
    """Start the evaluation. Raises: UserError."""
    if not adapter:
        raise UserError("adapter: none is chosen; train one first")
    for name, value in (("rows", rows), ("answers", answers), ("tokens", longest)):
        if value is None:
            raise UserError(f"{name}: must be a whole number (got nothing)")
    wish = EvaluationWish(adapter, dataset or None, int(rows or 0), int(answers or 0), int(longest or 0))
    evaluate.start(workspace, wish)


def show_forecast(workspace: Workspace, *asked: Any) -> str:
    """How long it would take, if an earlier measurement on the same base tells."""
    adapter, dataset, rows, answers, longest = asked
    if not adapter or None in (rows, answers, longest):
        return ""
    wish = EvaluationWish(adapter, dataset or None, int(rows), int(answers), int(longest))
    seconds = evaluate.forecast_s(workspace, wish)
    if seconds is None:
        return ""
    words = f"About {present.duration(max(seconds, 10))}, by the pace of the last measurement on this base."
    return f'<p class="ml-small">{present.text(words)}</p>'


def stop_going(workspace: Workspace) -> None:
    """Stop whatever is being measured."""
    for item in evaluate.list_evaluations(workspace):
        if item.going:
            evaluate.stop(workspace, item.id)


def draw(workspace: Workspace, adapter: str | None, seen: str) -> list[Update] | None:
    """Everything that shows an adapter's measurement; None when nothing has changed."""
    views = evaluate.list_evaluations(workspace)
    going = next((item for item in views if item.going), None)
    latest = going or next((item for item in views if item.adapter == adapter), None)
    result = evaluate.latest_result(workspace, adapter) if adapter else None
    mark = _mark(adapter, latest, result)
    if mark == seen:
        return None
    if result is None:
        nothing = NOTHING if adapter else NO_ADAPTER
        shown = ["" if going else nothing, "", ""]
    else:
        shown = [
            evaluation_view.show_figures(result),
            evaluation_view.show_drift(result) + evaluation_view.show_deferral(result),
            evaluation_view.show_answers(result),
        ]
    status = evaluation_view.show_progress(latest) if latest else ""
    return [gr.update(visible=going is not None), status, *shown, mark]


def _mark(adapter: str | None, latest: EvaluationView | None, result: dict[str, Any] | None) -> str:
    state = (latest.id, latest.status, latest.detail, latest.fraction) if latest else ()
    return repr((adapter, state, (result or {}).get("id")))


# Layout and wiring


def build_evaluate_tab() -> EvaluateTab:
    """Render the section's widgets."""
    with row():
        with card(scale=2):
            words(present.heading("Measure an adapter", "Beside its base, on the same rows."))
            adapter = gr.Dropdown([], label="Adapter", elem_id="evaluate-adapter", filterable=False)
            dataset = gr.Dropdown(
                [("The rows held back from its training", HELD_BACK)],
                value=HELD_BACK,
                label="Rows",
                info="Rows that it has not learned from: anything else would flatter it.",
                elem_id="evaluate-dataset",
                filterable=False,
            )
            with gr.Accordion("How much", open=False, elem_classes="ml-group"):
                rows = gr.Number(50, label="Rows measured at most", precision=0, minimum=1, maximum=10_000)
                answers = gr.Number(
                    10,
                    label="Rows answered in words",
                    info="The slow part: each is written out twice, by the base and by the adapter.",
                    precision=0,
                    minimum=0,
                    maximum=2_000,
                )
                longest = gr.Number(
                    128, label="Longest answer (tokens)", precision=0, minimum=8, maximum=2_048
                )
            forecast = words(elem_id="evaluate-forecast")
            with actions():
                begin = gr.Button("Measure", variant="primary", elem_id="evaluate-start")
                end = gr.Button("Stop", visible=False, elem_id="evaluate-stop")
        with card(scale=3):
            status = words(elem_id="evaluate-status")
            figures = words(NOTHING, elem_id="evaluate-figures")
    with card():
        words(
            present.heading(
                "Safety drift",
                "A tuned model can lose caution its base had. The same risky messages go to both; "
                "the rules for answers count what comes back.",
            )
        )
        drift = words(elem_id="evaluate-drift")
    with card():
        words(present.heading("In words", "What it said, beside the reference and its base."))
        answered = words(elem_id="evaluate-answers")
    seen = gr.State("")
    return EvaluateTab(
        adapter, dataset, rows, answers, longest, forecast, begin, end, status, figures, drift, answered, seen
    )


def wire_evaluate_tab(tab: EvaluateTab, workspace: Workspace, page: gr.Tab, timer: gr.Timer) -> None:
    """What each press does, and what a look at the disk redraws."""

    def look(adapter: str | None, seen: str) -> list[Update]:
        return draw(workspace, adapter, seen) or [gr.skip()] * len(tab.drawn)

    watched = guarded(look, needs=Permission.WATCH)
    sight: dict[str, Any] = {"inputs": [tab.adapter, tab.seen], "outputs": tab.drawn, **POLL}
    page.select(
        guarded(lambda *chosen: open_tab(workspace, *chosen), needs=Permission.WATCH),
        [tab.adapter, tab.dataset],
        [tab.adapter, tab.dataset],
        **POLL,
    ).then(watched, **sight)
    tab.adapter.input(watched, **sight)
    forecast = guarded(lambda *asked: show_forecast(workspace, *asked), quiet=True)
    changes = [field.change for field in tab.asked]
    gr.on(changes, forecast, tab.asked, tab.forecast, trigger_mode="always_last", **POLL)
    timer.tick(guarded(look, quiet=True, needs=Permission.WATCH), **sight)
    tab.start.click(guarded(lambda *asked: start(workspace, *asked)), tab.asked, None, **SILENT).then(
        watched, **sight
    )
    tab.stop.click(guarded(lambda: stop_going(workspace)), None, None, **SILENT).then(watched, **sight)
