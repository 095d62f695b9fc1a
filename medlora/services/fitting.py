"""Fit to this device: the smallest change to a configuration that lets its run into the free memory."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medlora.config.edit import set_value
from medlora.config.memory import Device, Forecast
from medlora.config.schema import Config
from medlora.errors import ConfigError
from medlora.services import configure
from medlora.services.forecast import count_forecast, trace_forecast
from medlora.workspace import Workspace

_BATCH = "training.per_device_train_batch_size"
_ACCUMULATION = "training.gradient_accumulation_steps"
_CHECKPOINTING = "training.gradient_checkpointing"
_SHARDING = "training.sharding"
_FOUR_BIT = "model.quantization_config.load_in_4bit"
_LENGTH = "data.max_seq_length"
_SHORTEST = 256
_MOST_TRACES = 4

Values = dict[str, Any]
Examine = Callable[[str], configure.Examination]


@dataclass(frozen=True)
class Change:
    """One setting: what it was and what is proposed."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Fit:
    """What was found. text: the configuration with the changes; diff: both texts line by line.

    fits: whether the run fits with these changes; None when the free memory is not known.
    """

    changes: tuple[Change, ...]
    text: str
    diff: str
    before: Forecast
    after: Forecast
    fits: bool | None


def fit_device(ws: Workspace, text: str, *, name: str = "config.yaml", dataset: str | None = None) -> Fit:
    """The mildest changes that make a run fit; none where it fits as it is.

    Mildest: first fewer records at a time with more accumulation (the same learning, a little slower), then
    gradient checkpointing (a third slower), then a base model shared out where there are several processes
    (slower still), then 4-bit weights (a little less exact), last shorter records (something is cut off).
    Comments and all other settings stay as they are.

    Raises: ConfigError for a text with problems, UserError when nothing is known of the model.
    """

    def examine(changed: str) -> configure.Examination:
        return configure.examine(ws, changed, dataset, name=name)

    config = _resolve(examine(text))
    before = trace_forecast(ws, config)
    if before.fits is not False:
        return Fit((), text, "", before, before, before.fits)
    best: Fit | None = None
    traces = 0
    for values in sorted(_proposals(config, before.device), key=_harm):
        changed, resolved = _write(text, values, examine)
        if not _holds(resolved, values):
            continue  # an environment variable stands above the text
        after = count_forecast(ws, resolved)
        if after.fits and traces < _MOST_TRACES:
            traces += 1
            after = trace_forecast(ws, resolved)
        fit = Fit(_list(config, values), changed, _diff(text, changed), before, after, after.fits)
        if after.fits and after.source == "traced":
            return fit
        if best is None or after.total_gib < best.after.total_gib:
            best = fit
    return best or Fit((), text, "", before, before, False)


def describe_fit(fit: Fit) -> str:
    """One sentence on what was found."""
    free = fit.before.device.free_gib
    if fit.before.fits is None:
        return f"A run needs about {fit.before.total_gib:.1f} GiB; how much is free is not known."
    if fit.before.fits:
        return f"It fits as it is: about {fit.before.total_gib:.1f} GiB of {free:.1f} GiB that are free."
    was = f"about {fit.after.total_gib:.1f} GiB instead of {fit.before.total_gib:.1f}, of {free:.1f} GiB free"
    if fit.fits:
        return f"With this it fits: {was}."
    if fit.changes:
        return f"Even so it does not fit: {was}. Choose a smaller base model, or close other programs."
    return (
        f"It needs about {fit.before.total_gib:.1f} GiB, {free:.1f} GiB are free, and nothing here can be "
        "made smaller. Choose a smaller base model, or close other programs."
    )


def _resolve(examined: configure.Examination) -> Config:
    if examined.resolved is None or examined.problems:
        raise ConfigError(examined.problems)
    return examined.resolved.config


def _proposals(config: Config, device: Device) -> Iterator[Values]:
    """Every combination of the changes that are open to this configuration on this device."""
    options: list[list[Values]] = [list(_batches(config, device)), list(_lengths(config))]
    if not config.training.gradient_checkpointing:
        options.append([{_CHECKPOINTING: True}])
    if not config.model.quantization_config.load_in_4bit:
        options.append(list(_weights(config, device)))
    for chosen in itertools.product(*([{}, *option] for option in options)):
        values = {key: value for part in chosen for key, value in part.items()}
        if values:
            yield values


def _batches(config: Config, device: Device) -> Iterator[Values]:
    """Fewer records at a time, as many in a step. On a CPU the run itself cuts its batches so."""
    if device.kind == "cpu":
        return
    batch = config.training.per_device_train_batch_size
    effective = batch * config.training.gradient_accumulation_steps
    for smaller in range(batch - 1, 0, -1):
        if effective % smaller == 0:
            yield {_BATCH: smaller, _ACCUMULATION: effective // smaller}


def _weights(config: Config, device: Device) -> Iterator[Values]:
    """Less of the base model's weights in each process: shared out, or in 4 bits; both at once cannot be."""
    training, lora = config.training, config.lora
    whole = lora.use_dora or lora.modules_to_save or lora.bias != "none"
    if training.all_processes > 1 and not training.sharded and not whole:
        yield {_SHARDING: "full"}
    if device.four_bit and device.kind != "mps" and not training.sharded:
        yield {_FOUR_BIT: True}


def _lengths(config: Config) -> Iterator[Values]:
    length = config.data.max_seq_length
    for share in (0.75, 0.5, 0.375, 0.25):
        shorter = int(length * share) // 64 * 64
        if shorter >= _SHORTEST:
            yield {_LENGTH: shorter}


def _harm(values: Values) -> float:
    """How much a proposal costs; only the order matters.

    Why these weights: each kind of change outweighs all milder ones together.
    """
    harm = 0.0
    if _BATCH in values:
        harm += 1 + 1 / values[_BATCH]
    if _CHECKPOINTING in values:
        harm += 3
    if _SHARDING in values:
        harm += 6
    if _FOUR_BIT in values:
        harm += 12
    if _LENGTH in values:
        harm += 24 + 1000 / values[_LENGTH]
    return harm


def _write(text: str, values: Values, examine: Examine) -> tuple[str, Config]:
    for key, value in values.items():
        text = set_value(text, key, value)
    return text, _resolve(examine(text))


def _holds(config: Config, values: Values) -> bool:
    return all(_value(config, key) == value for key, value in values.items())


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def _list(config: Config, values: Values) -> tuple[Change, ...]:
    return tuple(Change(key, _value(config, key), value) for key, value in values.items())


def _diff(before: str, after: str) -> str:
    lines: Sequence[str] = list(
        difflib.unified_diff(before.splitlines(), after.splitlines(), "now", "proposed", lineterm="", n=1)
    )
    return "\n".join(lines)
