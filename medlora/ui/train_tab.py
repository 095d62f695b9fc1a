"""The Train tab: choose what to train, look before you leap, watch it, stop it and keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.services import train
from medlora.services.micro_run import MicroRuns
from medlora.ui import new_run, present, run_view, runs_section
from medlora.ui.blocks import Confirmation, actions, card, confirmation, keep_choice, pick, row, words
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.micro_run_card import MicroRunCard, build_micro_run, wire_micro_run, wire_offer
from medlora.ui.runs_section import RunsSection, build_runs_section, wire_runs_section
from medlora.workspace import Workspace

NO_RUN = present.empty(
    "No run yet",
    "Choose a dataset, read the checks, press Start. The loss appears here with the first step.",
)
_GOING = ("queued", "running", "stopping")
_RESUMABLE = ("stopped", "failed", "lost")
_MORE = {"pass": "More passes through the data", "step": "More steps"}
Update = Any


@dataclass(frozen=True)
class TrainTab:
    """The widgets of the tab."""

    dataset: gr.Dropdown
    config: gr.HTML
    name: gr.Textbox
    device: gr.Dropdown
    parent: gr.Dropdown
    checks: gr.HTML
    start: gr.Button
    change_config: gr.Button
    run: gr.Dropdown
    nothing: gr.HTML
    board: gr.Column
    status: gr.HTML
    figures: gr.HTML
    loss: gr.HTML
    rate: gr.HTML
    facts: gr.HTML
    log: gr.Textbox
    stop: gr.Button
    discard: gr.Button
    resume: gr.Button
    up: gr.Button
    longer: gr.Row
    more: gr.Number
    extend: gr.Button
    chat: gr.Button
    sure: Confirmation
    runs: RunsSection
    seen: gr.State
    checked: gr.State
    micro: MicroRunCard | None = None

    @property
    def offered(self) -> list[Any]:
        """What may be chosen for a new run, in the order of `open_tab`."""
        return [self.dataset, self.config, *self.wish]

    @property
    def wish(self) -> list[Any]:
        """What is chosen beside the dataset, in the order of `new_run.Wish`."""
        return [self.device, self.parent]

    @property
    def drawn(self) -> list[Any]:
        """What a look at the disk redraws, in the order of `draw_run`."""
        buttons = [self.stop, self.discard, self.resume, self.chat, self.up, self.longer, self.more]
        views = [self.status, self.figures, self.loss, self.rate, self.facts, self.log]
        return [self.run, self.nothing, self.board, *views, *buttons, self.seen]


# Handlers: plain values in, updates out.


def run_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Every run, newest first: (what people read, run id)."""
    return [
        (f"{item.adapter_name} · {run_view.STATUS_WORDS[item.status].lower()} · {item.started}", item.run_id)
        for item in train.list_runs(workspace)
    ]


def adapter_of(workspace: Workspace, run_id: str | None) -> str | None:
    """The adapter that a run published."""
    return train.view(workspace, run_id).state.adapter if run_id else None


def draw_run(workspace: Workspace, run_id: str | None, seen: str) -> list[Update] | None:
    """Everything that shows the chosen run, read from disk; None when nothing has changed."""
    choices = run_choices(workspace)
    known = [key for _, key in choices]
    run_id = run_id if run_id in known else (known[0] if known else None)
    if run_id is None:
        mark = "no run"
        if seen == mark:
            return None
        return [pick([], None), gr.update(visible=True), gr.update(visible=False), *[gr.skip()] * 13, mark]
    view = train.view(workspace, run_id)
    mark = repr((choices, run_id, view.fingerprint))
    if mark == seen:
        return None
    state = view.state
    status = view.status
    return [
        {**pick(choices, run_id), "visible": True},
        gr.update(visible=False),
        gr.update(visible=True),
        run_view.show_status(view),
        run_view.show_figures(state),
        run_view.show_loss(state),
        run_view.show_rate(state),
        run_view.show_facts(state),
        view.log_tail,
        gr.update(
            visible=status in _GOING,
            interactive=status != "stopping",
            value="Take out of the queue" if status == "queued" else "Stop and keep",
        ),
        gr.update(visible=status in ("running", "stopping")),
        gr.update(visible=status in _RESUMABLE and not state.discard),
        gr.update(visible=bool(state.adapter)),
        gr.update(visible=view.movable),
        gr.update(visible=status == "completed"),
        gr.update(label=_MORE[train.length_unit(workspace, run_id)]),
        mark,
    ]


def follow_run(workspace: Workspace, run_id: str | None, seen: str) -> list[Update] | None:
    """The same for a look every two seconds, which never changes the run that is chosen."""
    drawn = draw_run(workspace, run_id, seen)
    return None if drawn is None else [keep_choice(drawn[0], run_id), *drawn[1:]]


# Layout and wiring.


def build_train_tab(short: MicroRuns | None = None) -> TrainTab:
    """Render the tab's widgets. short: the runs that a demo's visitors may start."""
    words(present.lead("Train", "A run is a process of its own: it goes on when you close this page."))
    micro = build_micro_run(short) if short else None
    with row():
        with card(scale=2):
            words(present.heading("New run"))
            dataset = gr.Dropdown([], label="Dataset", elem_id="train-dataset", filterable=False)
            config = words(elem_id="train-config")
            name = gr.Textbox(
                label="Name of the adapter",
                placeholder="chosen from the dataset and the model",
                max_length=64,
            )
            device = gr.Dropdown(
                [], label="Train on", elem_id="train-device", visible=False, filterable=False
            )
            parent = gr.Dropdown(
                [], label="Go on from", elem_id="train-parent", visible=False, filterable=False
            )
            checks = words(elem_id="train-checks")
            with actions():
                start = gr.Button("Start training", variant="primary", elem_id="train-start")
                change_config = gr.Button("Change the configuration", elem_classes="ml-quiet")
        with card(scale=3):
            run = gr.Dropdown([], label="Run", elem_id="train-run", visible=False, filterable=False)
            nothing = words(NO_RUN)
            with gr.Column(visible=False, elem_classes="ml-board") as board:
                status = words(elem_id="train-status")
                figures = words(elem_id="train-figures")
                with actions():
                    stop = gr.Button("Stop and keep", visible=False, elem_id="train-stop")
                    resume = gr.Button("Resume", visible=False, elem_id="train-resume")
                    up = gr.Button("Move up", visible=False, elem_id="train-up")
                    chat = gr.Button("Chat with it", visible=False, variant="primary", elem_id="train-chat")
                    discard = gr.Button(
                        "Discard", visible=False, elem_id="train-discard", elem_classes="ml-danger"
                    )
                sure = confirmation("Stop and discard", "Keep training", "train-sure")
                with actions(visible=False) as longer:
                    more = gr.Number(
                        1, label=_MORE["pass"], minimum=0, elem_id="train-more", elem_classes="ml-short"
                    )
                    extend = gr.Button("Train it longer", elem_id="train-extend")
                loss = words(elem_id="train-loss")
                rate = words(elem_id="train-rate")
                facts = words()
                with gr.Accordion("Log", open=False, elem_classes="ml-group"):
                    log = gr.Textbox(
                        label="Last lines of the run's log", lines=12, max_lines=12, elem_classes="ml-log"
                    )
    runs = build_runs_section()
    return TrainTab(
        dataset=dataset, config=config, name=name, device=device, parent=parent, checks=checks, start=start,
        change_config=change_config,
        run=run, nothing=nothing, board=board, status=status, figures=figures, loss=loss, rate=rate,
        facts=facts, log=log, stop=stop, discard=discard, resume=resume, chat=chat, sure=sure,
        up=up, longer=longer, more=more, extend=extend,
        runs=runs,
        seen=gr.State(""), checked=gr.State(None), micro=micro,
    )  # fmt: skip


def wire_train_tab(tab: TrainTab, workspace: Workspace) -> None:
    """What each press does. Nothing here waits for a run: it writes a wish, the disk tells the rest."""

    def redraw(run_id: str | None) -> list[Update]:
        return draw_run(workspace, run_id, "") or [gr.skip()] * len(tab.drawn)

    def start(dataset: str | None, name: str, *wish: str | None) -> list[Update]:
        return redraw(new_run.start_run(workspace, dataset, name, *wish))

    def stop(run_id: str) -> list[Update]:
        train.stop(workspace, run_id)
        return redraw(run_id)

    def resume(run_id: str) -> list[Update]:
        train.resume(workspace, run_id)
        return redraw(run_id)

    def move_up(run_id: str) -> list[Update]:
        train.move_up(workspace, run_id)
        return redraw(run_id)

    def extend(run_id: str, more: float | None) -> list[Update]:
        train.extend(workspace, run_id, more or 0)
        return redraw(run_id)

    def ask(run_id: str) -> tuple[Update, Update]:
        question = "Stop this run and delete what it learned? This cannot be undone."
        return gr.update(visible=True), f"<p>{present.text(question)}</p>"

    def discard(run_id: str) -> list[Update]:
        train.discard(workspace, run_id)
        return [gr.update(visible=False), *redraw(run_id)]

    def check(dataset: str | None, *wish: str | None) -> str:
        return new_run.show_checks(workspace, dataset, *wish)

    asked = [tab.dataset, *tab.wish]
    for changed in (tab.dataset.change, tab.device.input, tab.parent.input):
        changed(guarded(check), asked, tab.checks, **POLL)
    tab.seen.change(
        guarded(lambda *seen: new_run.recheck(workspace, *seen), quiet=True, needs=Permission.WATCH),
        [tab.checked, *asked],
        [tab.checks, tab.checked],
        **POLL,
    )
    tab.start.click(guarded(start), [tab.dataset, tab.name, *tab.wish], tab.drawn, **SILENT)
    tab.run.input(guarded(redraw, needs=Permission.WATCH), tab.run, tab.drawn, **POLL)
    tab.stop.click(guarded(stop), tab.run, tab.drawn, **SILENT)
    tab.resume.click(guarded(resume), tab.run, tab.drawn, **SILENT)
    tab.up.click(guarded(move_up), tab.run, tab.drawn, **SILENT)
    tab.extend.click(guarded(extend), [tab.run, tab.more], tab.drawn, **SILENT)
    tab.discard.click(guarded(ask), tab.run, [tab.sure.box, tab.sure.question], **POLL)
    tab.sure.no.click(lambda: gr.update(visible=False), None, tab.sure.box, **POLL)
    if tab.micro:
        wire_micro_run(tab.micro, workspace, tab.drawn, redraw)
    wire_runs_section(tab.runs, workspace, tab.drawn, redraw)
    tab.sure.yes.click(guarded(discard), tab.run, [tab.sure.box, *tab.drawn], **SILENT)


def wire_opening(
    tab: TrainTab, page: gr.Tab, workspace: Workspace, shown: Any, stored: Callable[..., Any]
) -> None:
    """What is read from disk whenever the tab is opened. stored: the name of the dataset that is shown."""

    def open_tab(seen: Any, dataset: str | None, *wish: str | None) -> list[Update]:
        offered = new_run.open_tab(workspace, stored(seen) or dataset, *wish)
        stands = offered[0]["value"] in (None, dataset)
        return [*offered, gr.skip() if stands else new_run.CHECKING]

    if tab.micro:
        wire_offer(tab.micro, page, workspace)
    looked = [tab.runs.words, tab.runs.chosen]
    page.select(
        guarded(lambda *asked: runs_section.draw(workspace, *asked), needs=Permission.WATCH),
        looked,
        tab.runs.drawn,
        **POLL,
    )
    asked = [tab.dataset, *tab.wish]
    opened = page.select(guarded(open_tab), [shown, *asked], [*tab.offered, tab.checks], **POLL)
    checked = opened.then(
        guarded(lambda *now: new_run.show_checks(workspace, *now)), asked, tab.checks, **POLL
    )
    checked.then(guarded(lambda *now: new_run.show_exact_checks(workspace, *now)), asked, tab.checks, **POLL)
