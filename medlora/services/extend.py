"""A run that goes on for longer than was first asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medlora.config.plan import count_steps
from medlora.config.resolve import Above, diagnose_text
from medlora.config.schema import Config
from medlora.errors import ConfigError, UserError
from medlora.runs.live import observe
from medlora.runs.state import RunState
from medlora.runs.store import load_record
from medlora.services.templates import template_search
from medlora.workspace import RunPaths, Workspace

# What may change between two parts of one run without making it another run.
CHANGEABLE = (
    "training.num_train_epochs",
    "training.max_steps",
    "training.save_steps",
    "training.eval_steps",
    "training.logging_steps",
    "training.early_stopping_patience",
)


@dataclass(frozen=True)
class Length:
    """How long a run is: the setting that says so, its value, and what one more of it is called."""

    key: str
    value: float
    unit: str


def length_of(config: Config) -> Length:
    """A number of steps when one is set, which wins over the passes through the data."""
    training = config.training
    if training.max_steps > 0:
        return Length("training.max_steps", training.max_steps, "step")
    return Length("training.num_train_epochs", training.num_train_epochs, "pass")


def lengthen(run: RunPaths, more: float) -> str:
    """The `key=value` that makes a run longer by so many passes, or steps.

    Raises: UserError for a number that adds nothing.
    """
    length = length_of(Config.model_validate(load_record(run)["config"]))
    if not more > 0:
        raise UserError(f"train longer: must be above 0 (got {more:g}); say how many more")
    return f"{length.key}={length.value + more:g}"


def change_settings(ws: Workspace, run: RunPaths, sets: Sequence[str]) -> dict[str, Any]:
    """The run's configuration with these `key=value` in it.

    Why so few may change: with another learning rate or other data it would be another run, and its
    record would no longer tell how the adapter came about.
    Raises: UserError for other settings, ConfigError for values that cannot be, UserError for a length
    that the run has reached already.
    """
    for item in sets:
        key = item.split("=", 1)[0].strip()
        if key not in CHANGEABLE:
            names = ", ".join(name.removeprefix("training.") for name in CHANGEABLE)
            raise UserError(
                f"--set {key}: a run goes on with what it began with; only training.{{{names}}} may change, "
                "for anything else start a new run"
            )
    text = json.dumps(load_record(run)["config"])
    diagnosis = diagnose_text(text, name=run.run_id, search=template_search(ws), above=Above({}, sets))
    if diagnosis.resolved is None:
        raise ConfigError([problem for problem in diagnosis.problems if problem.severity == "error"])
    config = diagnosis.resolved.config
    _insist_on_more(run, config, observe(run))
    return config.model_dump(mode="json")


def _insist_on_more(run: RunPaths, config: Config, state: RunState) -> None:
    rows = state.plan.get("rows_train")
    if not isinstance(rows, int) or not state.step:
        return
    total = count_steps(config, rows)
    if total > state.step:
        return
    length = length_of(config)
    raise UserError(
        f"run {run.run_id}: with {length.key}={length.value:g} it has {total} steps and has done "
        f"{state.step} already; ask for more"
    )
