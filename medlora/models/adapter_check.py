"""Whether an adapter from elsewhere is what it says it is: settings, tensors and base model agree.

Covered: settings PEFT would ignore or act on in unexpected ways, weights that settings leave out (PEFT drops
them without a word), missing or stray tensors, wrong ranks and widths, numbers that are not finite, another
base model's weights or revision.
Not covered: what an adapter says. Weights that fit may still give harmful answers; that is what the safety
layer, an evaluation and the sign-off are for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medlora.models.adapter_biases import KINDS, check_biases, is_bias
from medlora.models.tensor_files import TensorEntry, is_finite, read_tensor_header

# The settings of PEFT 0.21's LoraConfig; a test compares them with the installed one.
KNOWN_SETTINGS = frozenset({
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout",
    "fan_in_fan_out", "bias", "use_rslora", "modules_to_save", "init_lora_weights",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_config",
    "megatron_core", "trainable_token_indices", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "use_dora", "velora_config", "alora_invocation_tokens", "use_qalora",
    "qalora_group_size", "monteclora_config", "layer_replication", "runtime_config", "lora_bias",
    "target_parameters", "use_bdlora", "arrow_config", "kasa_config", "ensure_weight_tying",
})  # fmt: skip

# LoRA and DoRA on linear layers are trained and answered with here; these make it something else.
_MUST_BE_OFF = (
    "auto_mapping", "megatron_config", "trainable_token_indices", "velora_config", "alora_invocation_tokens",
    "use_qalora", "monteclora_config", "layer_replication", "lora_bias", "target_parameters", "use_bdlora",
    "arrow_config", "kasa_config", "fan_in_fan_out", "layers_pattern", "exclude_modules",
)  # fmt: skip
# Others, such as PiSSA, rewrite the base model's weights.
_INITIAL = (True, False, None, "gaussian", "orthogonal")
_LARGEST_RANK = 1024
_KEY = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.lora_(?P<half>[AB])\.weight")
_MAGNITUDE = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.lora_magnitude_vector(?:\.weight)?")
_WHOLE = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.(?:weight|bias)")
_MODULE = re.compile(r"[A-Za-z_][\w.]{0,199}")


@dataclass(frozen=True)
class BaseShape:
    """The weights of a base model on this machine: name of a linear layer → (outputs, inputs), and biases."""

    layers: Mapping[str, tuple[int, ...]]
    biases: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> BaseShape:
        """From the headers of the model's files alone.

        Raises: ValueError for a file that is damaged.
        """
        layers, biases = {}, {}
        for path in sorted(folder.glob("*.safetensors")):
            for name, entry in read_tensor_header(path).items():
                if name.endswith(".weight") and len(entry.shape) == 2:
                    layers[name.removesuffix(".weight")] = entry.shape
                elif name.endswith(".bias"):
                    biases[name.removesuffix(".bias")] = entry.shape
        return cls(layers, biases)


def check_settings(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with adapter_config.json, one message each."""
    problems = []
    unknown = sorted(set(settings) - KNOWN_SETTINGS)
    if unknown:
        shown = ", ".join(name[:40] for name in unknown[:5])
        problems.append(f"settings that PEFT 0.21 does not know ({shown}); save it with that version")
    if settings.get("peft_type") != "LORA":
        problems.append(f"peft_type: only LoRA adapters can be used (got {_show(settings.get('peft_type'))})")
    if settings.get("task_type") not in ("CAUSAL_LM", None):
        problems.append(f"task_type: must be CAUSAL_LM (got {_show(settings.get('task_type'))})")
    bias = settings.get("bias", "none")
    if bias not in KINDS:
        problems.append(f"bias: must be one of {', '.join(KINDS)} (got {_show(bias)})")
    elif bias != "none" and settings.get("modules_to_save"):
        problems.append("bias: cannot be imported together with modules_to_save")
    on = [name for name in _MUST_BE_OFF if settings.get(name)]
    if on:
        problems.append(f"{', '.join(on)}: only LoRA and DoRA on linear layers can be imported")
    if settings.get("init_lora_weights") not in _INITIAL:
        shown = _show(settings["init_lora_weights"])
        problems.append(f"init_lora_weights: it rewrites the base model's weights (got {shown})")
    problems += _check_numbers(settings)
    modules = settings.get("target_modules")
    named = isinstance(modules, list) and modules and all(_is_module(name) for name in modules)
    if not named and modules != "all-linear":
        problems.append("target_modules: must be a list of layer names, or all-linear")
    return problems


def _check_numbers(settings: Mapping[str, Any]) -> Iterator[str]:
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not _is_rank(rank):
        yield f"r: must be a whole number from 1 to {_LARGEST_RANK} (got {_show(rank)})"
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= 1e6:
        yield f"lora_alpha: must be a number above 0 (got {_show(alpha)})"
    layers = settings.get("layers_to_transform")
    listed = [layers] if isinstance(layers, int) else layers or []
    if not isinstance(listed, list) or not all(type(number) is int and number >= 0 for number in listed):
        yield "layers_to_transform: must be a list of layer numbers"
    whole = settings.get("modules_to_save") or []
    if not isinstance(whole, list) or not all(_is_module(name) for name in whole):
        yield "modules_to_save: must be a list of module names"
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = settings.get(name) or {}
        plain = isinstance(pattern, dict) and all(
            _is_module(key) and _is_rank(value) for key, value in pattern.items()
        )
        if not plain:
            yield f"{name}: must name layers and give whole numbers"


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST_RANK


def _is_module(value: Any) -> bool:
    return isinstance(value, str) and _MODULE.fullmatch(value) is not None


def _show(value: Any) -> str:
    return repr(value)[:60]


def check_weights(path: Path, settings: Mapping[str, Any], base: BaseShape | None) -> list[str]:
    """What is wrong with the weights, given sound settings; at most a few messages of each kind.

    base: the base model's layers, None when it is not on this machine.
    """
    try:
        entries = read_tensor_header(path)
        halves = _pair(entries, settings)
        broken = [entry.name for entry in entries.values() if not is_finite(path, entry)]
    except ValueError as error:
        return [f"{path.name}: {error}"]
    problems = [f"{name}: it holds numbers that are not finite" for name in broken[:3]]
    if not halves:
        problems.append(f"{path.name}: it holds no LoRA weights")
    problems += _check_modules(halves, settings.get("target_modules"))
    shapes = [
        message for name, pair in halves.items() for message in _check_shape(name, pair, settings, base)
    ]
    biases = check_biases(entries, halves, settings, base.biases if base else None)
    return problems + shapes[:5] + list(biases)[:5]


def _pair(
    entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]
) -> dict[str, dict[str, TensorEntry]]:
    """Layer → its two halves. Raises: ValueError for a tensor that belongs to none and to no whole module."""
    halves: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in entries.items():
        found = _KEY.fullmatch(name)
        if found is not None:
            halves.setdefault(found["module"], {})[found["half"]] = entry
        elif not _belongs(name, settings) and not is_bias(name, settings):
            raise ValueError(f"{name[:120]}: its settings speak of no weight of this name")
    return halves


def _belongs(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a tensor beside the halves is one of DoRA's, or of a module that was trained whole."""
    if _MAGNITUDE.fullmatch(name):
        return bool(settings.get("use_dora"))
    found, whole = _WHOLE.fullmatch(name), settings.get("modules_to_save") or []
    return found is not None and any(
        _matches(found["module"], module) or f".{module}." in f".{found['module']}." for module in whole
    )


def _check_modules(halves: Mapping[str, Any], wanted: Any) -> Iterator[str]:
    """Why both ways: PEFT drops weights its settings leave out, and fills in those that are missing."""
    if not isinstance(wanted, list):
        return
    stray = [name for name in halves if not any(_matches(name, target) for target in wanted)]
    if stray:
        names = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in stray})[:5])
        yield f"target_modules: the weights also hold layers it leaves out ({names}), which would be dropped"
    missing = [target for target in wanted if not any(_matches(name, target) for name in halves)]
    if missing:
        yield f"target_modules: there are no weights for {', '.join(missing[:5])}"


def _matches(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _check_shape(
    module: str, pair: Mapping[str, TensorEntry], settings: Mapping[str, Any], base: BaseShape | None
) -> Iterator[str]:
    if set(pair) != {"A", "B"}:
        yield f"{module}: one half of its weights is missing"
        return
    down, up = pair["A"].shape, pair["B"].shape
    patterns = settings.get("rank_pattern") or {}
    rank = next((value for key, value in patterns.items() if _matches(module, key)), settings.get("r"))
    if len(down) != 2 or len(up) != 2 or down[0] != rank or up[1] != rank:
        yield f"{module}: its weights are not of rank {rank} as the settings say (got {down} and {up})"
        return
    if base is None:
        return
    layer = base.layers.get(module)
    if layer is None:
        yield f"{module}: the base model has no such layer"
    elif (up[0], down[1]) != tuple(layer):
        made, real = f"{up[0]} x {down[1]}", f"{layer[0]} x {layer[1]}"
        yield f"{module}: made for a layer of {made}, the base model's is {real}"


def check_missing_layers(path: Path, settings: Mapping[str, Any], base: BaseShape) -> list[str]:
    """Layers of the base that the settings name and the weights leave out: PEFT would add empty ones."""
    wanted = settings.get("target_modules")
    if not isinstance(wanted, list) or settings.get("layers_to_transform") is not None:
        return []
    held = set(_pair(read_tensor_header(path), settings))
    absent = [
        name
        for name in base.layers
        if any(_matches(name, target) for target in wanted)
        and name not in held
        and name.rsplit(".", 1)[-1] not in (settings.get("modules_to_save") or [])
    ]
    return [f"{absent[0]}: the settings name it, and there are no weights for it"] if absent else []
