"""The base model with an adapter attached, and the proof that it was attached where it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.models.architecture import ArchitectureFacts, facts_from_config, fit_target_modules
from medlora.models.files import ModelFiles, read_model_config, split_revision
from medlora.models.parent import KEY, WEIGHTS, Parent, find_mismatches, read_parent
from medlora.models.weight_hash import hash_file, hash_model
from medlora.training.attention import register_flat_attention
from medlora.training.device import Setup
from medlora.training.ranks import ALONE, Ranks
from medlora.training.sharding import count_held, sharded_loading
from medlora.workspace import Workspace


@dataclass(frozen=True)
class AdapterFacts:
    """What was attached: counts of parameters and the modules adapted.

    held: parameters that lie in this process, fewer than all where the base is sharded.
    """

    trainable: int
    total: int
    modules: tuple[str, ...]
    held: int


def load_base(folder: Path, name: str, config: Config, setup: Setup, ranks: Ranks = ALONE) -> nn.Module:
    """The frozen base model on its device, in the run's precision; this process's share where it is sharded.

    name: the model's public name, which the adapter will carry instead of a private path.
    """
    settings: dict[str, Any] = {
        "dtype": setup.torch_dtype,
        "attn_implementation": attention_name(setup),
        "local_files_only": True,
        "use_safetensors": True,
    }
    if setup.four_bit:
        settings["quantization_config"] = _quantization(config, setup)
    if config.training.sharded:
        settings |= sharded_loading(ranks, setup.device)
    elif setup.device == "cuda" or setup.four_bit:
        settings["device_map"] = {"": ranks.local if setup.device == "cuda" else "cpu"}
    model = AutoModelForCausalLM.from_pretrained(folder, **settings)
    if setup.four_bit:
        _keep_weights_trainable(model)
    # Without a pinned commit, so that other tools find the model by it; provenance keeps the commit.
    model.name_or_path = model.config._name_or_path = split_revision(name)[0]
    model.config.use_cache = False
    model.requires_grad_(False)
    if config.training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def _keep_weights_trainable(model: nn.Module) -> None:
    """Keep bitsandbytes on a CPU from packing the weights for inference at the first evaluation.

    Why: the packed form has no backward pass, so after an evaluation training would go on with gradients
    that are wrong without a word. Source: bitsandbytes 0.50, Linear4bit.forward.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def attention_name(setup: Setup) -> str:
    """What transformers is told: our per-sequence attention where rows are flat and flash is not used."""
    return register_flat_attention() if setup.flat and setup.attention == "sdpa" else setup.attention


def _quantization(config: Config, setup: Setup) -> BitsAndBytesConfig:
    """Why the run's precision and not the config's: fp16 on a CPU, or bf16 on an old GPU, does not train."""
    wanted = config.model.quantization_config
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype=setup.torch_dtype,
        bnb_4bit_quant_type=wanted.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=wanted.bnb_4bit_use_double_quant,
    )


def target_modules(facts: ArchitectureFacts, config: Config) -> tuple[list[str], list[str]]:
    """The modules to adapt and the notices about names that were translated.

    Raises: UserError when a name matches nothing in this architecture.
    """
    modules, notices, errors = fit_target_modules(config.lora.target_modules, facts)
    if errors:
        raise UserError("\n".join(f"lora.target_modules: {error}" for error in errors))
    return modules, [f"lora.target_modules: {notice}" for notice in notices]


def attach_adapter(
    model: nn.Module, config: Config, setup: Setup, modules: list[str]
) -> tuple[PeftModel, AdapterFacts]:
    """The model with fresh LoRA weights on these modules, drawn with the run's seed.

    Raises: UserError when PEFT attached anything but what was asked for.
    """
    lora = config.lora
    torch.manual_seed(config.training.seed)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.lora_alpha,
            lora_dropout=lora.lora_dropout,
            target_modules=modules,
            bias=lora.bias,
            task_type=lora.task_type,
            use_rslora=lora.use_rslora,
            use_dora=lora.use_dora,
            init_lora_weights=True if lora.init_lora_weights == "default" else lora.init_lora_weights,
            modules_to_save=lora.modules_to_save or None,
            layers_to_transform=lora.layers_to_transform,
        ),
    )
    if setup.autocast is not None:
        _leave_casting_to_autocast(adapted)
    if setup.autocast == "fp16":
        _widen_trained(adapted)
    attached = attached_modules(adapted)
    if set(attached) != set(modules):
        missing = ", ".join(sorted(set(modules) - set(attached))) or "none"
        raise UserError(
            f"lora.target_modules: the adapter is not where it was asked for (missing: {missing}; "
            f"attached: {', '.join(attached) or 'none'}); choose names that this model has, or all-linear"
        )
    trainable, total = adapted.get_nb_trainable_parameters()
    return adapted, AdapterFacts(trainable, total, tuple(attached), count_held(adapted))


def load_parent(model: PeftModel, ws: Workspace, record: Mapping[str, Any]) -> None:
    """Put the weights of the adapter that the run begins with in the place of the fresh ones.

    record: what the run's start kept of it.
    Raises: UserError when it is gone, has changed since, or has other tensors than this run's adapter.
    """
    parent = read_parent(ws, str(record["name"]))
    path = parent.path / WEIGHTS
    if hash_file(path) != record["weights_sha256"]:
        raise UserError(
            f"{KEY}: {parent.name} changed since the run was made; start a new run with it as it is now"
        )
    weights = load_file(path)
    if weights.keys() != get_peft_model_state_dict(model, save_embedding_layers=False).keys():
        raise UserError(f"{KEY}: {parent.name} has other layers than this run adapts")
    set_peft_model_state_dict(model, weights)


def check_parent(parent: Parent, config: Config, files: ModelFiles) -> None:
    """Raises: UserError when the adapter does not fit the run, or was made on other weights of its base."""
    facts = facts_from_config(read_model_config(files.path))
    base = config.model.base_model_name
    wrong = list(find_mismatches(parent, base, config.lora.model_dump(), facts))
    told = parent.facts.get("base_model", {}).get("weight_hash")
    if not wrong and told and told != hash_model(files):
        wrong = [f"{KEY}: {parent.name} was made on other weights of {files.name} than the ones here"]
    if wrong:
        raise UserError("\n".join(wrong))


def attached_modules(model: nn.Module) -> list[str]:
    """The last name of every module that carries LoRA weights, each once, in the model's order."""
    names = (
        name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, LoraLayer)
    )
    return list(dict.fromkeys(names))


def _widen_trained(model: nn.Module) -> None:
    """What else is trained (biases, whole modules) in float32, like the adapter's own weights.

    Why: float16's scaler takes no gradients in 16 bits; it would end the run at its first step.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.float16:
            parameter.data = parameter.data.float()


def _leave_casting_to_autocast(model: nn.Module) -> None:
    """Keep PEFT from copying every layer's input to float32 only for autocast to cut it down again.

    Why: the copies are kept for the backward pass; without them a step takes a fifth less memory.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False
