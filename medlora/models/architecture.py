"""What a model's config.json says about its shape: parameters and linear layers, without its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medlora.errors import UserError

_SPLIT_ATTENTION = ("q_proj", "k_proj", "v_proj")
_SPLIT_GATE = ("gate_proj", "up_proj")
_FUSED = {**dict.fromkeys(_SPLIT_ATTENTION, "qkv_proj"), **dict.fromkeys(_SPLIT_GATE, "gate_up_proj")}


@dataclass(frozen=True)
class ArchitectureFacts:
    """The shape of a causal language model.

    linear_modules: name → (inputs, outputs), each of them once per layer; the head is not among them,
    since PEFT's all-linear leaves it out too.
    """

    model_type: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    parameters: int
    linear_modules: dict[str, tuple[int, int]]

    def lora_parameters(self, modules: Sequence[str], rank: int) -> int:
        """Trainable parameters of LoRA at this rank on these modules of every layer."""
        sizes = (self.linear_modules[name] for name in modules)
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in sizes)


@dataclass(frozen=True)
class _Family:
    """What differs between the families, as their reference implementations have it.

    Source: transformers 5.23, models/*/modeling_*.py; checked against them in tests.
    """

    fused: bool = False
    attention_bias: bool | None = False
    output_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2
    head_norms: bool = False
    tied_default: bool = False
    head_dim_default: int | None = None


_GEMMA = _Family(tied_default=True, head_dim_default=256)
_FAMILIES = {
    "llama": _Family(attention_bias=None, output_bias=True, mlp_bias=True),
    "smollm3": _Family(attention_bias=None, output_bias=True, mlp_bias=True, tied_default=True),
    "mistral": _Family(),
    "qwen2": _Family(attention_bias=True),
    "qwen3": _Family(attention_bias=None, output_bias=True, head_norms=True),
    "phi3": _Family(fused=True),
    "gemma": _GEMMA,
    "gemma2": _Family(norms=4, tied_default=True, head_dim_default=256),
    "gemma3_text": _Family(norms=4, head_norms=True, tied_default=True, head_dim_default=256),
}
KNOWN_MODEL_TYPES = tuple(sorted(_FAMILIES))


def facts_from_config(config: Mapping[str, Any]) -> ArchitectureFacts:
    """The facts in a parsed config.json.

    Raises: UserError for a family that is not known here, or a config without its sizes.
    """
    config = _text_part(config)
    model_type = str(config.get("model_type", ""))
    family = _FAMILIES.get(model_type)
    if family is None:
        raise UserError(
            f"model: model_type: this family is not known (got {model_type!r}); "
            f"known are {', '.join(KNOWN_MODEL_TYPES)}"
        )
    hidden, layers = _size(config, "hidden_size"), _size(config, "num_hidden_layers")
    heads = _size(config, "num_attention_heads")
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or family.head_dim_default or hidden // heads)
    inner, vocab = _size(config, "intermediate_size"), _size(config, "vocab_size")
    tied = bool(config.get("tie_word_embeddings", family.tied_default))
    modules = _linear_modules(family, hidden, inner, heads * head_dim, kv_heads * head_dim)
    per_layer = sum(inputs * outputs for inputs, outputs in modules.values())
    per_layer += _bias_parameters(config, family, modules)
    per_layer += family.norms * hidden + (2 * head_dim if family.head_norms else 0)
    parameters = layers * per_layer + hidden + vocab * hidden * (1 if tied else 2)
    return ArchitectureFacts(
        model_type=model_type,
        hidden_size=hidden,
        intermediate_size=inner,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=vocab,
        parameters=parameters,
        linear_modules=modules,
    )


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's own part, where the file describes a larger whole."""
    inner = config.get("text_config")
    return inner if config.get("model_type") not in _FAMILIES and isinstance(inner, Mapping) else config


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(
            f"model: config.json: {key} is missing or not a positive whole number (got {value!r})"
        )
    return value


def _linear_modules(
    family: _Family, hidden: int, inner: int, queries: int, keys: int
) -> dict[str, tuple[int, int]]:
    if family.fused:
        attention = {"qkv_proj": (hidden, queries + 2 * keys)}
        gate = {"gate_up_proj": (hidden, 2 * inner)}
    else:
        attention = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys)}
        gate = {"gate_proj": (hidden, inner), "up_proj": (hidden, inner)}
    return {**attention, "o_proj": (queries, hidden), **gate, "down_proj": (inner, hidden)}


def _bias_parameters(
    config: Mapping[str, Any], family: _Family, modules: Mapping[str, tuple[int, int]]
) -> int:
    attention = family.attention_bias
    if attention is None:
        attention = bool(config.get("attention_bias", False))
    total = 0
    if attention:
        names = (*_SPLIT_ATTENTION, "o_proj") if family.output_bias else _SPLIT_ATTENTION
        total += sum(modules[name][1] for name in names)
    if family.mlp_bias and config.get("mlp_bias", False):
        total += sum(modules[name][1] for name in (*_SPLIT_GATE, "down_proj"))
    return total


_PHI4_MINI = {
    "model_type": "phi3",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "vocab_size": 200064,
    "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}
_STARTER = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
# The models that shipped templates name: their checks and forecasts work before anything is fetched.
_BUILT_IN = {
    "starter": _STARTER,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _STARTER,
    "microsoft/Phi-4-mini-instruct": _PHI4_MINI,
}


def built_in_config(name: str) -> dict[str, Any] | None:
    """The shape of a model that the shipped templates name, as its config.json has it, else None."""
    config = _BUILT_IN.get(name)
    return dict(config) if config else None


def built_in_facts(name: str) -> ArchitectureFacts | None:
    """The facts of a model that the shipped templates name, else None."""
    config = built_in_config(name)
    return facts_from_config(config) if config else None


def fit_target_modules(
    requested: Sequence[str] | str, facts: ArchitectureFacts
) -> tuple[list[str], list[str], list[str]]:
    """(modules to adapt, notices, errors) for what was asked and what the model has.

    Why: on a model with fused projections, PEFT attaches to the names that match and says nothing
    about the others, so most of the adapter would silently not exist.
    """
    if requested == "all-linear":
        return list(facts.linear_modules), [], []
    asked = [requested] if isinstance(requested, str) else list(requested)
    found: list[str] = []
    renamed: dict[str, list[str]] = {}
    errors: list[str] = []
    for name in asked:
        fused = _FUSED.get(name)
        if name in facts.linear_modules:
            target = name
        elif fused in facts.linear_modules:
            target = str(fused)
            renamed.setdefault(target, []).append(name)
        else:
            errors.append(_unmatched(name, facts))
            continue
        if target not in found:
            found.append(target)
    notices = [
        f"{', '.join(names)}: this model ({facts.model_type}) keeps them in one layer; "
        f"{target} is adapted instead"
        for target, names in renamed.items()
    ]
    return found, notices, errors


def _unmatched(name: str, facts: ArchitectureFacts) -> str:
    return (
        f"this model ({facts.model_type}) has no linear layer of that name (got {name!r}); "
        f"there are {', '.join(facts.linear_modules)}, or all-linear"
    )
