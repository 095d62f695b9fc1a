"""Keys and values that the libraries renamed or dropped since older files were written.

Source: transformers 5.23 `TrainingArguments`, PEFT 0.21 `LoraConfig`, bitsandbytes 0.50.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from medlora.config.layers import Entry, Layer, show

_RENAMED = {
    "training.activation_checkpointing": "training.gradient_checkpointing",
    "training.per_gpu_train_batch_size": "training.per_device_train_batch_size",
    "training.per_gpu_eval_batch_size": "training.per_device_eval_batch_size",
    "training.max_seq_length": "data.max_seq_length",
    "training.max_length": "data.max_seq_length",
    "training.dataset_path": "data.dataset_path",
    "model.load_in_4bit": "model.quantization_config.load_in_4bit",
    "model.bnb_4bit_compute_dtype": "model.quantization_config.bnb_4bit_compute_dtype",
    "model.bnb_4bit_quant_type": "model.quantization_config.bnb_4bit_quant_type",
    "model.bnb_4bit_use_double_quant": "model.quantization_config.bnb_4bit_use_double_quant",
}
_HARDWARE = "has no effect: the machine decides"
_LOCAL = "has no effect: runs are recorded on this machine only"
_GONE = "has no effect: the libraries dropped it"
_DROPPED = {
    "training.no_cuda": f"{_HARDWARE}; to train without the GPU, hide it with CUDA_VISIBLE_DEVICES=-1",
    "training.use_cpu": f"{_HARDWARE}; to train without the GPU, hide it with CUDA_VISIBLE_DEVICES=-1",
    "training.tf32": _HARDWARE,
    "model.torch_dtype": f"{_HARDWARE} the precision; ask for one with training.bf16 or training.fp16",
    "model.dtype": f"{_HARDWARE} the precision; ask for one with training.bf16 or training.fp16",
    "training.logging_dir": _LOCAL,
    "training.run_name": f"{_LOCAL}; name the adapter when you start the run",
    "training.push_to_hub": "has no effect: adapters stay on this machine until you export them",
    "training.hub_model_id": "has no effect: adapters stay on this machine until you export them",
    "training.overwrite_output_dir": "has no effect: every run has a folder of its own",
    "training.save_safetensors": "has no effect: weights are always saved as safetensors",
    "training.do_train": "has no effect: a run always trains",
    "training.do_eval": "has no effect: data.eval_dataset_size decides whether there is an evaluation",
    "training.logging_strategy": "has no effect: training.logging_steps decides",
    "training.logging_first_step": "has no effect: the first step is always logged",
    "training.save_strategy": "has no effect: training.save_steps decides, and the end is always saved",
    "training.label_names": "has no effect: the assistant's turns are the labels",
    "training.metric_for_best_model": "has no effect: the evaluation loss decides which adapter is best",
    "training.greater_is_better": "has no effect: the lowest evaluation loss is best",
    "training.half_precision_backend": _GONE,
    "training.fp16_opt_level": _GONE,
    "training.jit_mode_eval": _GONE,
    "training.past_index": _GONE,
    "lora.inference_mode": "has no effect: it is off in training and on in chat",
}
_VALUES: dict[str, dict[Any, Any]] = {
    "training.optim": {"adamw_hf": "adamw_torch", "adamw": "adamw_torch", "adamw_bnb_8bit": "adamw_8bit"},
    "training.save_total_limit": {1: 2},
    "training.max_steps": {None: -1},
    "lora.target_modules": {"all": "all-linear"},
    "model.quantization_config.bnb_4bit_compute_dtype": {
        **{f"torch.{name}": name for name in ("float16", "bfloat16", "float32")},
        **{"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"},
    },
}


def _flash(layer: Layer, entry: Entry) -> None:
    if entry.value is True:
        layer.entries["model.attn_implementation"] = replace(entry, value="flash_attention_2")
    message = "is now called model.attn_implementation: flash_attention_2, and read as such"
    layer.say(entry, "model.use_flash_attention_2", message, "notice")


def _grouping(layer: Layer, entry: Entry) -> None:
    if entry.value is True:
        layer.entries["training.train_sampling_strategy"] = replace(entry, value="group_by_length")
    message = "is now called training.train_sampling_strategy: group_by_length, and read as such"
    layer.say(entry, "training.group_by_length", message, "notice")


def _evaluation(layer: Layer, entry: Entry) -> None:
    key = "training.eval_strategy"
    if entry.value in ("no", False):
        layer.entries["data.eval_dataset_size"] = replace(entry, value=0.0)
        layer.say(entry, key, "read as data.eval_dataset_size: 0, which turns evaluation off", "notice")
    elif entry.value == "steps":
        layer.say(entry, key, "needs no saying: evaluation happens every training.eval_steps", "notice")
    elif entry.value == "epoch":
        message = "evaluation happens every training.eval_steps and at the end, not by epoch"
        layer.say(entry, key, message, "notice")
    else:
        layer.say(entry, key, f"must be one of no, steps, epoch (got {show(entry.value)})")


_SPECIAL: dict[str, Callable[[Layer, Entry], None]] = {
    "model.use_flash_attention_2": _flash,
    "training.group_by_length": _grouping,
    "training.evaluation_strategy": _evaluation,
    "training.eval_strategy": _evaluation,
}

LEGACY_KEYS = frozenset(_RENAMED) | frozenset(_DROPPED) | frozenset(_SPECIAL)


def translate_layer(layer: Layer) -> Layer:
    """The layer with today's keys and values, a notice for each one that changed."""
    for key in [key for key in layer.entries if key in LEGACY_KEYS]:
        entry = layer.entries.pop(key)
        if key in _SPECIAL:
            _SPECIAL[key](layer, entry)
        elif key in _DROPPED:
            layer.say(entry, key, _DROPPED[key], "notice")
        else:
            layer.entries.setdefault(_RENAMED[key], entry)
            layer.say(entry, key, f"is called {_RENAMED[key]} here, and read as such", "notice")
    _translate_values(layer)
    return layer


def _translate_values(layer: Layer) -> None:
    for key, changes in _VALUES.items():
        entry = layer.entries.get(key)
        if entry is None or isinstance(entry.value, list | dict | bool) or entry.value not in changes:
            continue
        value = changes[entry.value]
        layer.entries[key] = replace(entry, value=value)
        layer.say(entry, key, f"read as {show(value)} (got {show(entry.value)})", "notice")
    modules = layer.entries.get("lora.target_modules")
    if modules and isinstance(modules.value, str) and modules.value != "all-linear":
        names = [name.strip() for name in modules.value.split(",") if name.strip()]
        layer.entries["lora.target_modules"] = replace(modules, value=names)
    warmup = layer.entries.get("training.warmup_steps")
    if warmup and isinstance(warmup.value, float) and 0 < warmup.value < 1:
        del layer.entries["training.warmup_steps"]
        layer.entries.setdefault("training.warmup_ratio", warmup)
        message = f"a share of the run, read as training.warmup_ratio (got {show(warmup.value)})"
        layer.say(warmup, "training.warmup_steps", message, "notice")
