"""The Train tab's first card: what would be trained, on what, and what the machine says before it starts."""

from __future__ import annotations

from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.services import configure, data, train
from medlora.services.devices import list_choices
from medlora.ui import present
from medlora.ui.blocks import pick
from medlora.workspace import Workspace

Update = Any


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


def _options(workspace: Workspace, device: str | None, name: str = "") -> train.StartOptions:
    chosen = next((choice for choice in list_choices(workspace) if choice.label == device), None)
    return train.StartOptions(adapter_name=name.strip() or None, sets=chosen.sets if chosen else ())


def show_checks(workspace: Workspace, dataset: str | None, device: str | None = None) -> str:
    """What the machine says before anything starts."""
    if not dataset:
        return present.empty("No dataset yet", "Add one in the Data tab, or start there with the sample.")
    text = configure.load_draft(workspace).text
    checks = train.preflight(workspace, text, dataset, _options(workspace, device))
    return present.checklist((check.name, check.status, check.message) for check in checks)


def show_exact_checks(workspace: Workspace, dataset: str | None, device: str | None = None) -> Update:
    """The same once the memory is traced, some seconds later; nothing where it was already."""
    sets = _options(workspace, device).sets
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
    return show_checks(workspace, dataset, device)


def open_tab(workspace: Workspace, dataset: str | None, device: str | None = None) -> list[Update]:
    """What could be started now: the datasets, the configuration, the devices. The checks follow."""
    choices = pick(dataset_choices(workspace), dataset)
    return [choices, show_config_line(workspace), offer_devices(workspace, device)]


def start_run(workspace: Workspace, dataset: str | None, name: str, device: str | None = None) -> str:
    """Start the run, or queue it; its id. The services refuse what the checks found wrong."""
    if not dataset:
        raise UserError("dataset: none is chosen; add one in the Data tab")
    text = configure.load_draft(workspace).text
    return train.start(workspace, text, dataset, _options(workspace, device, name))
