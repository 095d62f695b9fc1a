"""The Train tab's first card: what would be trained, on what, and what the machine says before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import adapters, configure, data, train
from medlora.services.devices import list_choices
from medlora.ui import present
from medlora.ui.blocks import pick
from medlora.workspace import Workspace

Update = Any
FRESH = ""
CHECKING = present.checklist([("Checking", "wait", "Your data, the configuration and this machine.")])
"""What stands in the place of checks that spoke of another dataset."""


@dataclass(frozen=True)
class Wish:
    """What is chosen beside the dataset: the devices, and the adapter to go on from."""

    device: str | None = None
    parent: str | None = None


def dataset_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Every dataset: (what people read, name)."""
    cards = data.list_datasets(workspace)
    return [(f"{item.title} · {present.count(item.usable, 'row')}", item.name) for item in cards]


def show_config_line(workspace: Workspace) -> str:
    """What the configuration in the Configure tab would train, in a few facts."""
    examined = configure.examine(workspace, configure.load_draft(workspace).text)
    if examined.resolved is None:
        found = present.count(len(examined.problems), "problem")
        return present.notice("red", f"The configuration has {found}", "Mend it in the Configure tab.")
    config = examined.resolved.config
    steps = (
        present.count(config.training.max_steps, "step")
        if config.training.max_steps > 0
        else present.count(int(config.training.num_train_epochs), "pass", "passes")
    )
    return present.pills(
        [
            config.model.base_model_name,
            f"rank {config.lora.r}",
            steps,
            f"learning rate {present.number(config.training.learning_rate)}",
        ]
    )


def offer_devices(workspace: Workspace, chosen: str | None) -> Update:
    """What the run may be given, offered where there is more than one GPU."""
    labels = [(choice.label, choice.label) for choice in list_choices(workspace)]
    return {**pick(labels, chosen), "visible": bool(labels)}


def offer_parents(workspace: Workspace, chosen: str | None) -> Update:
    """The adapters that the run could go on from: those on its base model."""
    examined = configure.examine(workspace, configure.load_draft(workspace).text)
    base = examined.resolved.config.model.base_model_name if examined.resolved else None
    fitting = [card for card in adapters.list_adapters(workspace) if card.base_model == base]
    names = [(card.name, card.name) for card in fitting if not card.problem]
    return {**pick([("fresh weights", FRESH), *names], chosen), "visible": bool(names)}


def _options(workspace: Workspace, wish: Wish, name: str = "") -> train.StartOptions:
    chosen = next((choice for choice in list_choices(workspace) if choice.label == wish.device), None)
    sets = chosen.sets if chosen else ()
    if wish.parent:
        sets = (*train.sets_from(workspace, wish.parent), *sets)
    return train.StartOptions(adapter_name=name.strip() or None, sets=sets)


def show_checks(workspace: Workspace, dataset: str | None, *wish: str | None) -> str:
    """What the machine says before anything starts."""
    if not dataset:
        return present.empty("No dataset yet", "Add one in the Data tab, or start there with the sample.")
    text = configure.load_draft(workspace).text
    checks = train.preflight(workspace, text, dataset, _options(workspace, Wish(*wish)))
    return present.checklist((check.name, check.status, check.message) for check in checks)


def show_exact_checks(workspace: Workspace, dataset: str | None, *wish: str | None) -> Update:
    """The same once the memory is traced, some seconds later; nothing where it was already."""
    sets = _options(workspace, Wish(*wish)).sets
    examined = configure.examine(workspace, configure.load_draft(workspace).text, dataset, sets=sets)
    if not dataset or examined.resolved is None:
        return gr.skip()
    config = examined.resolved.config
    try:
        if configure.estimate(workspace, config).source == "traced":
            return gr.skip()
        configure.estimate(workspace, config, wait=True)
    except UserError:
        return gr.skip()
    return show_checks(workspace, dataset, *wish)


def recheck(
    workspace: Workspace, checked: str | None, dataset: str | None, *wish: str | None
) -> list[Update]:
    """The checks again as soon as a run has begun or ended since the last look: some speak of it."""
    now = repr([(item.run_id, item.status) for item in train.list_runs(workspace)])
    if now == checked:
        return [gr.skip(), gr.skip()]
    return [gr.skip() if checked is None else show_checks(workspace, dataset, *wish), now]


def open_tab(workspace: Workspace, dataset: str | None, *chosen: str | None) -> list[Update]:
    """What could be started now: the datasets, the configuration, what to train on and to go on from.

    The checks follow.
    """
    wish = Wish(*chosen)
    return [
        pick(dataset_choices(workspace), dataset),
        show_config_line(workspace),
        offer_devices(workspace, wish.device),
        offer_parents(workspace, wish.parent),
    ]


def start_run(workspace: Workspace, dataset: str | None, name: str, *wish: str | None) -> str:
    """Start the run, or queue it; its id. The services refuse what the checks found wrong."""
    if not dataset:
        raise UserError("dataset: none is chosen; add one in the Data tab")
    text = configure.load_draft(workspace).text
    return train.start(workspace, text, dataset, _options(workspace, Wish(*wish), name))
