"""The form beside the text: the settings people change, read from the text and written back into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from medlora.config.edit import get_value, set_value
from medlora.config.resolve import Above, diagnose_text
from medlora.config.scalars import read_scalar
from medlora.config.schema import SettingDoc, find_setting
from medlora.errors import InternalError
from medlora.services.templates import template_search
from medlora.workspace import Workspace

FieldKind = Literal["number", "whole number", "choice", "switch", "text", "long text", "list"]

FORM_GROUPS: dict[str, tuple[str, ...]] = {
    "Model": ("model.base_model_name", "model.quantization_config.load_in_4bit"),
    "How much is learned": (
        "training.num_train_epochs",
        "training.max_steps",
        "training.learning_rate",
        "training.lr_scheduler_type",
        "training.warmup_steps",
        "training.warmup_ratio",
    ),
    "Adapter": ("lora.r", "lora.lora_alpha", "lora.lora_dropout"),
    "Memory": (
        "training.per_device_train_batch_size",
        "training.gradient_accumulation_steps",
        "data.max_seq_length",
        "training.gradient_checkpointing",
    ),
    "Checking": (
        "data.eval_dataset_size",
        "training.early_stopping_patience",
        "training.save_steps",
        "training.seed",
    ),
    "Safety": (
        "safety.system_prompt",
        "safety.content_filter",
        "safety.safety_keywords",
        "safety.defer_keywords",
        "safety.country",
        "safety.strict",
    ),
    "Answers": (
        "inference.temperature",
        "inference.top_p",
        "inference.repetition_penalty",
        "inference.max_new_tokens",
    ),
    "Release": (
        "evaluation.intended_use",
        "evaluation.release.min_rows",
        "evaluation.release.better_than_base",
        "evaluation.release.max_safety_drift",
        "evaluation.release.min_deferral_recall",
        "evaluation.release.min_ratings",
        "evaluation.release.min_safe_share",
    ),
}
FORM_KEYS = tuple(key for keys in FORM_GROUPS.values() for key in keys)
_LONG = {"safety.system_prompt"}
_PAIRS = {
    "training.warmup_steps": ("training.warmup_ratio", 0.0),
    "training.warmup_ratio": ("training.warmup_steps", 0),
}


@dataclass(frozen=True)
class FormField:
    """One widget: what it is called, what it means, what it holds and what it may hold.

    `choices` pairs a label with a value; other values are allowed too unless `kind` is "choice".
    `origin` tells where the value comes from; `overridden` names an environment variable that wins.
    """

    key: str
    group: str
    label: str
    help: str
    kind: FieldKind
    value: Any
    choices: tuple[tuple[str, Any], ...]
    bounds: str
    unit: str
    origin: str
    overridden: str = ""


def form_values(ws: Workspace, text: str, *, env: Mapping[str, str] | None = None) -> list[FormField]:
    """The form's fields as the text and its templates fill them; empty while the text has errors."""
    search = template_search(ws)
    plain = diagnose_text(text, name="config.yaml", search=search).resolved
    if plain is None:
        return []
    above = diagnose_text(text, name="config.yaml", search=search, above=Above(env or {})).resolved
    fields = []
    for group, keys in FORM_GROUPS.items():
        for key in keys:
            origin = above.origins[key] if above else ""
            field = _field(key, group, _get(plain.config, key), plain.origins[key])
            fields.append(field if not origin.startswith("env ") else _mark(field, origin))
    return fields


def apply_form(ws: Workspace, text: str, values: Mapping[str, Any]) -> str:
    """The text with the values that differ from what it says now; the rest is left as it is.

    Numbers may come as texts, lists as lines or with commas.

    Raises: ConfigError if the text cannot be read.
    """
    resolved = diagnose_text(text, name="config.yaml", search=template_search(ws)).resolved
    for key, given in values.items():
        doc = find_setting(key)
        if doc is None:
            raise InternalError(f"the form names a setting that does not exist (got {key})")
        value = _read(doc, given)
        current = _get(resolved.config, key) if resolved else get_value(text, key)
        if value == current or _reads_the_same(current, given):
            continue
        text = set_value(text, key, value)
        other = _PAIRS.get(key)
        if other and get_value(text, other[0]):
            text = set_value(text, *other)
    return text


def _mark(field: FormField, origin: str) -> FormField:
    return replace(field, overridden=origin.removeprefix("env "))


def _field(key: str, group: str, value: Any, origin: str) -> FormField:
    doc = find_setting(key)
    if doc is None:
        raise InternalError(f"the form names a setting that does not exist (got {key})")
    choices = tuple((f"{name} · {text}", _typed(doc, name)) for name, text in doc.guidance)
    if not choices:
        choices = tuple((choice, choice) for choice in doc.choices)
    return FormField(
        key, group, doc.title, doc.help, _kind(doc), value, choices, doc.bounds, doc.unit, origin
    )


def _kind(doc: SettingDoc) -> FieldKind:
    if doc.key in _LONG:
        return "long text"
    if doc.kind in ("number", "whole number", "choice", "switch", "text", "list"):
        return doc.kind
    raise InternalError(f"no widget shows this kind of setting (got {doc.kind})")


def _typed(doc: SettingDoc, text: str) -> Any:
    return read_scalar(text) if doc.kind in ("number", "whole number") else text


def _read(doc: SettingDoc, given: Any) -> Any:
    """A widget's value as the setting's type; what cannot be read stays, to be reported at its line."""
    if isinstance(given, str):
        given = given.replace("\r\n", "\n")
    if doc.kind in ("number", "whole number"):
        value = read_scalar(given.strip()) if isinstance(given, str) else given
        whole = isinstance(value, float) and value.is_integer()
        return int(value) if doc.kind == "whole number" and whole else value
    if doc.kind == "list":
        items = given.replace(",", "\n").split("\n") if isinstance(given, str) else list(given or ())
        return [str(item).strip() for item in items if str(item).strip()]
    return bool(given) if doc.kind == "switch" and not doc.optional else given


def _reads_the_same(current: Any, given: Any) -> bool:
    """Why: a widget may show less than the value (six digits, no final line end), and was not touched."""
    if not isinstance(given, str):
        return False
    if isinstance(current, list):
        shown = "\n".join(str(item) for item in current)
    else:
        shown = f"{current:g}" if isinstance(current, float) else str(current)
    return given.replace("\r\n", "\n").strip() == shown.strip()


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config
