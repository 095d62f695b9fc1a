"""The functions that scripts use: load_config, validate_config, estimate_memory_usage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medlora.config.checks import check_together, find_dataset
from medlora.config.layers import Entry, Layer, show, suggest
from medlora.config.memory_by_size import estimate_usage
from medlora.config.resolve import Resolved, TemplateSearch, resolve_file
from medlora.config.schema import find_setting, section_names
from medlora.config.translate import LEGACY_KEYS, translate_layer
from medlora.config.values import validate_layer
from medlora.errors import ConfigError, NotFoundError

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_REQUIRED = ("model.base_model_name", "data.dataset_path")


def load_config(name: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """A configuration as a plain dict, `config["training"]["learning_rate"]` and so on.

    Without a name: `config.yaml` in the current folder, else the shipped `configs/default.yaml`. A name is
    looked for in the current folder, then in `configs/`. Environment variables such as LORA_RANK apply.

    Raises: NotFoundError if there is no such file; ConfigError with every error in it.
    """
    return as_plain(load_resolved(name))


def load_resolved(name: str | os.PathLike[str] | None = None) -> Resolved:
    """The same with origins and notices."""
    return resolve_file(find_config(name), search=default_search(), env=os.environ)


def as_plain(resolved: Resolved) -> dict[str, Any]:
    """The resolved settings in the manual's shape, ready for JSON."""
    return resolved.config.model_dump(mode="json")


def default_search() -> TemplateSearch:
    """Templates and datasets from the current folder, then from the installation."""
    here = Path.cwd()
    home = os.environ.get("MEDLORA_HOME", "").strip()
    homes = (Path(home).expanduser(),) if home else ()
    roots = tuple(dict.fromkeys((here, *homes, _CHECKOUT)))
    return TemplateSearch(tuple(root / "configs" for root in roots), roots)


def find_config(name: str | os.PathLike[str] | None = None) -> Path:
    """The file that `load_config` would read.

    Raises: NotFoundError that lists the places looked at.
    """
    here = Path.cwd()
    if name is None:
        places = [here / "config.yaml", *(folder / "default.yaml" for folder in default_search().folders)]
    else:
        chosen = Path(name).expanduser()
        folders = (here, *default_search().folders)
        places = [folder / with_suffix for folder in folders for with_suffix in _spellings(chosen)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(place) for place in dict.fromkeys(place.parent for place in places))
        raise NotFoundError(
            f"{name or 'config.yaml'}: there is no such file (looked in {looked}); check the name"
        )
    return found


def _spellings(chosen: Path) -> list[Path]:
    return (
        [chosen] if chosen.suffix in (".yaml", ".yml") else [chosen, chosen.with_name(f"{chosen.name}.yaml")]
    )


def validate_config(config: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a configuration dict, one message each; an empty list if nothing is.

    A relative dataset path is tried from the current folder, then from the app's own.
    """
    errors = [f"Missing required field: {key}" for key in _REQUIRED if not _nested(config, key)]
    rank = _nested(config, "lora.r")
    if rank is None or (isinstance(rank, int | float) and rank <= 0):
        errors.append("LoRA rank must be positive")
    path = _nested(config, "data.dataset_path")
    if isinstance(path, str) and path and find_dataset(path, default_search().data_folders) is None:
        errors.append(f"Dataset path not found: {path}")
    said = {"lora.r"} if "LoRA rank must be positive" in errors else set()
    said.update(key for key in _REQUIRED if f"Missing required field: {key}" in errors)
    layer = _as_layer(config)
    validated = validate_layer(layer)
    check_together(layer, validated.wrong)
    errors += [str(p) for p in layer.problems if p.severity == "error" and p.key not in said]
    return errors


def _nested(config: Mapping[str, Any], dotted: str) -> Any:
    value: Any = config
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _as_layer(config: Mapping[str, Any]) -> Layer:
    layer = Layer()
    _flatten(layer, config, "")
    return translate_layer(layer)


def _flatten(layer: Layer, table: Mapping[str, Any], prefix: str) -> None:
    for key, value in table.items():
        dotted = f"{prefix}{key}"
        doc = find_setting(dotted)
        if doc or dotted in LEGACY_KEYS:
            if value is not None or not (doc and doc.optional):
                layer.entries[dotted] = Entry(value, "", rank=1)
        elif isinstance(value, Mapping):
            _flatten(layer, value, f"{dotted}.")
        elif value is not None:
            group = dotted in (*section_names(), "model.quantization_config", "evaluation.release")
            message = f"must hold settings (got {show(value)})" if group else suggest(dotted, LEGACY_KEYS)
            layer.say(Entry(value, ""), dotted, message)
        elif dotted == "model.quantization_config":
            layer.entries[f"{dotted}.load_in_4bit"] = Entry(False, "", rank=1)


def estimate_memory_usage(batch_size: int, seq_length: int, model_size: float) -> float:
    """GPU memory in GB that training needs, for a 4-bit model of `model_size` billion parameters.

    Counted: weights, adapter of rank 32, its gradients and optimizer, activations with gradient
    checkpointing, a chunk of logits, and what the GPU's own software takes. For the same without a guess
    of the model's shape, and for other settings, use `python -m medlora config estimate FILE`.

    Raises: ConfigError for sizes that are not positive.
    """
    return estimate_usage(batch_size, seq_length, model_size)


__all__ = [
    "ConfigError",
    "as_plain",
    "estimate_memory_usage",
    "find_config",
    "load_config",
    "validate_config",
]
