"""Layers laid over one another, the later the stronger, key by key.

Two pairs of settings exclude each other. Setting one of a pair in a later layer takes the other back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medlora.config.layers import Entry, Layer
from medlora.errors import Problem

_STEPS, _RATIO = "training.warmup_steps", "training.warmup_ratio"
_HALVES = ("training.fp16", "training.bf16")


def merge_layers(layers: Sequence[Layer]) -> Layer:
    """One layer with the strongest value of every key and everything there is to say."""
    merged = Layer()
    for rank, layer in enumerate(layers, start=1):
        entries = layer.ranked(rank).entries
        merged.problems.extend(layer.problems)
        merged.entries.update(entries)
        _settle_warmup(merged, entries)
        _settle_precision(merged, entries)
    return merged


def _settle_warmup(merged: Layer, entries: dict[str, Entry]) -> None:
    """Steps and share say the same thing twice; steps win where one layer has both.

    Source: transformers' TrainingArguments gave warmup_steps precedence over warmup_ratio.
    """
    if _STEPS in entries and _RATIO in entries:
        if _is_positive(entries[_STEPS]) and _is_positive(entries[_RATIO]):
            merged.entries[_RATIO] = replace(entries[_RATIO], value=0.0)
            message = "has no effect beside warmup_steps, which counts; delete one of the two"
            merged.say(entries[_RATIO], _RATIO, message, "notice")
    elif _STEPS in entries:
        merged.entries[_RATIO] = replace(entries[_STEPS], value=0.0)
    elif _RATIO in entries:
        merged.entries[_STEPS] = replace(entries[_RATIO], value=0)


def _settle_precision(merged: Layer, entries: dict[str, Entry]) -> None:
    for key, other in (_HALVES, _HALVES[::-1]):
        asked = key in entries and entries[key].value is True and other not in entries
        if asked and other in merged.entries and merged.entries[other].value is True:
            earlier = merged.entries[other]
            merged.entries[other] = replace(entries[key], value=False)
            message = f"taken back, since {entries[key].where} asks for {key}"
            merged.problems.append(Problem(earlier.where, other, message, "notice", earlier.line))


def _is_positive(entry: Entry) -> bool:
    return isinstance(entry.value, int | float) and entry.value > 0
