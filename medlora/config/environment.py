"""The two layers above every file: environment variables, and --set on the command line.

Covered: LORA_RANK and its kin, as the manual shows them, and MEDLORA_SECTION__KEY for every setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from medlora.config.layers import Entry, Layer, plain, suggest
from medlora.config.scalars import read_scalar
from medlora.config.schema import find_setting, setting_docs
from medlora.config.source import TableNode, parse_source
from medlora.config.translate import LEGACY_KEYS
from medlora.errors import ConfigError, Problem

SHORT_NAMES = {
    "LORA_LEARNING_RATE": "training.learning_rate",
    "LORA_BATCH_SIZE": "training.per_device_train_batch_size",
    "LORA_EPOCHS": "training.num_train_epochs",
    "LORA_MAX_STEPS": "training.max_steps",
    "LORA_GRADIENT_ACCUMULATION": "training.gradient_accumulation_steps",
    "LORA_WARMUP_STEPS": "training.warmup_steps",
    "LORA_SEED": "training.seed",
    "LORA_RANK": "lora.r",
    "LORA_ALPHA": "lora.lora_alpha",
    "LORA_DROPOUT": "lora.lora_dropout",
    "LORA_TARGET_MODULES": "lora.target_modules",
    "LORA_BASE_MODEL": "model.base_model_name",
    "LORA_DATASET": "data.dataset_path",
    "LORA_MAX_SEQ_LENGTH": "data.max_seq_length",
}
_GENERAL = "MEDLORA_"
_QUANTIZATION = "model.quantization_config"


def environment_name(key: str) -> str:
    """The general environment variable of a setting: lora.r → MEDLORA_LORA__R."""
    return _GENERAL + key.upper().replace(".", "__")


def read_environment(env: Mapping[str, str]) -> Layer:
    """The settings in the environment; empty variables count as absent."""
    layer = Layer()
    for name, text in sorted(env.items()):
        if not text.strip():
            continue
        if name in SHORT_NAMES:
            _put(layer, SHORT_NAMES[name], text, f"env {name}")
        elif name.startswith("LORA_"):
            _mention_unknown(layer, name)
    for name, text in sorted(env.items()):
        if name.startswith(_GENERAL) and "__" in name and text.strip():
            key = name.removeprefix(_GENERAL).lower().replace("__", ".")
            older = layer.entries.get(key)
            if older:
                message = f"{older.where} is set too; the longer name counts"
                layer.problems.append(Problem(f"env {name}", key, message, "notice"))
            _put(layer, key, text, f"env {name}")
    return layer


def read_sets(sets: Sequence[str]) -> Layer:
    """The settings of `--set key=value`; a key may leave out its section where that is clear."""
    layer = Layer()
    for text in sets:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            message = f"must be key=value (got {text!r}); for example --set training.max_steps=20"
            layer.problems.append(Problem("--set", "", message))
            continue
        _put(layer, _complete(key), value.strip(), "--set")
    return layer


def _complete(key: str) -> str:
    homes = [doc.key for doc in setting_docs() if doc.key.rsplit(".", 1)[-1] == key]
    return homes[0] if len(homes) == 1 else key


def _mention_unknown(layer: Layer, name: str) -> None:
    """Other software may use LORA_ names too, so only a near miss is worth a word."""
    close = get_close_matches(name, SHORT_NAMES, 1, 0.8)
    if close:
        message = f"no setting listens to this name; did you mean {close[0]}?"
        layer.problems.append(Problem(f"env {name}", "", message, "notice"))


def _put(layer: Layer, key: str, text: str, where: str) -> None:
    if key == _QUANTIZATION and read_scalar(text.strip()) is None:
        layer.entries[f"{_QUANTIZATION}.load_in_4bit"] = Entry(False, where)
    elif find_setting(key) is None and key not in LEGACY_KEYS:
        layer.problems.append(Problem(where, key, suggest(key, LEGACY_KEYS)))
    else:
        try:
            layer.entries[key] = Entry(_read_value(key, text), where)
        except ConfigError:
            message = 'not readable as a value; quote the texts inside, as in ["a b", c]'
            layer.problems.append(Problem(where, key, message))


def _read_value(key: str, text: str) -> Any:
    """A value as it stands in a variable: lists may be written with brackets or with commas alone."""
    doc = find_setting(key)
    kind = doc.kind if doc else "other"
    text = text.strip() if kind != "text" else text
    if kind == "text" and not (doc and doc.optional and text == "null"):
        return text
    if kind in ("list", "table") and text[:1] in "[{":
        return plain(_flow(text).entries["value"][1])
    if kind == "list" and not (doc and text in doc.choices):
        return [item.strip() for item in text.split(",") if item.strip()]
    return read_scalar(text)


def _flow(text: str) -> TableNode:
    return parse_source(f"value: {text}\n", "value")
