"""How much memory a training run needs, counted from the model's shape.

Counted: the frozen weights in their precision, the adapter with its gradients, the optimizer's state,
what a forward pass keeps for the backward pass (all of it, or with gradient checkpointing one input per
layer and one layer's worth), one chunk of logits on label positions, and what the process takes before
any model is there. The batch is taken to be as long as allowed: batch size × longest sequence. Where the
base model is sharded, its weights count for one process: its share, and what it fetches of the others'.

Not counted: fragmentation of the allocator, kernels' private workspaces, other programs. So this is a
sober guess for a choice of settings, not a promise; on small models it was within a fifth of what was
measured, and the run itself reports the true peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from medlora.config.schema import Config

GIB = 2**30
_NF4_BYTES = 0.5 + 4 / 64
_NF4_DOUBLE_BYTES = 0.5 + 1 / 64 + 4 / 64 / 256
_STATE_BYTES = {"adamw_8bit": 2.0, "paged_adamw_8bit": 2.0, "adafactor": 0.1, "sgd": 0.0}
_ADAM_BYTES = 8.0
_LOGIT_CHUNK_BYTES = 256 * 2**20
_OVERHEAD_GIB = {"cuda": 0.5, "mps": 0.8, "cpu": 0.55}
_MARGIN = 0.95
# Of activations: how much memory is held for one byte that is alive (benchmarks/memory.py).
_FULL_KEPT, _HALF_KEPT, _LEAN_KEPT, _GPU_KEPT = 1.4, 1.4, 1.08, 1.05


class ShapeLike(Protocol):
    """What the forecast needs to know of a model; sizes of linear layers are (inputs, outputs)."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def linear_modules(self) -> Mapping[str, tuple[int, int]]: ...


@dataclass(frozen=True)
class Device:
    """The machine as far as memory goes; `four_bit` tells whether bitsandbytes works on it."""

    kind: str
    total_gib: float | None = None
    free_gib: float | None = None
    bf16: bool = True
    four_bit: bool = True


@dataclass(frozen=True)
class Forecast:
    """GiB in total and by part (weights, adapter, optimizer, activations, logits, overhead).

    source: traced on the real architecture, or counted by the formulas of this module.
    """

    total_gib: float
    parts: dict[str, float]
    device: Device
    trainable_parameters: int
    source: Literal["traced", "counted"] = "counted"

    @property
    def fits(self) -> bool | None:
        """Whether the free memory holds it with a little room to spare; None where that is not known."""
        free = self.device.free_gib
        return None if free is None else self.total_gib <= free * _MARGIN


def forecast(
    config: Config,
    shape: ShapeLike,
    device: Device,
    *,
    modules: Sequence[str] | None = None,
    longest: int | None = None,
) -> Forecast:
    """The forecast for a configuration on a machine.

    `modules` are the layers that get an adapter (those of the configuration if not given), `longest` the
    longest record in tokens where the dataset is known.
    """
    names = (
        list(shape.linear_modules) if modules is None else [n for n in modules if n in shape.linear_modules]
    )
    if modules is None and isinstance(config.lora.target_modules, list):
        names = [name for name in config.lora.target_modules if name in shape.linear_modules]
    width = _width(device)
    trainable = _adapter_parameters(shape, names, config.lora.r)
    sequence = min(config.data.max_seq_length, longest or config.data.max_seq_length)
    tokens = config.training.per_device_train_batch_size * sequence
    sizes = {
        "weights": _weight_bytes(config, shape, device, width),
        "adapter": trainable * 8.0,
        "optimizer": trainable * state_bytes(config),
        "activations": _activation_total(config, shape, names, device, tokens),
        "logits": _logit_bytes(shape, tokens, width),
    }
    return _complete(_shared_out(sizes, config, shape, device), trainable, device, config, "counted")


def from_trace(
    sizes: Mapping[str, float], trainable: int, device: Device, config: Config, shape: ShapeLike
) -> Forecast:
    """The forecast from the bytes that a trace of the step counted, with what a trace cannot see."""
    return _complete(_shared_out(sizes, config, shape, device), trainable, device, config, "traced")


def _shared_out(
    sizes: Mapping[str, float], config: Config, shape: ShapeLike, device: Device
) -> Mapping[str, float]:
    """The sizes in one of several processes that share the base model's weights.

    Beside its share each holds the head, and two layers: the one it computes and the one it fetches.
    Source: transformers' plan for FSDP 2 keeps the head from the forward into the backward pass.
    """
    if not config.training.sharded:
        return sizes
    layer = sum(inputs * outputs for inputs, outputs in shape.linear_modules.values())
    fetched = (2 * layer + shape.vocab_size * shape.hidden_size) * _width(device)
    held = sizes["weights"] / config.training.all_processes + fetched
    return {**sizes, "weights": min(sizes["weights"], held)}


def _complete(
    sizes: Mapping[str, float],
    trainable: int,
    device: Device,
    config: Config,
    source: Literal["traced", "counted"],
) -> Forecast:
    """Add what the allocator keeps beyond what is alive, and what the process takes before any model.

    Source of the shares: benchmarks/memory.py, on glibc; PyTorch's own allocator on a GPU keeps little.
    """
    kept = _GPU_KEPT if device.kind != "cpu" else _LEAN_KEPT
    if device.kind == "cpu" and not saves_memory(config):
        kept = _HALF_KEPT if device.bf16 else _FULL_KEPT
    overhead = _OVERHEAD_GIB.get(device.kind, 0.55) * GIB
    sizes = {**sizes, "activations": sizes["activations"] * kept, "overhead": overhead}
    parts = {name: round(size / GIB, 3) for name, size in sizes.items()}
    return Forecast(round(sum(sizes.values()) / GIB, 2), parts, device, trainable, source)


def saves_memory(config: Config) -> bool:
    """Whether the settings say that memory matters more than time; the run's queue starts it accordingly."""
    return config.training.gradient_checkpointing or config.model.quantization_config.load_in_4bit


def state_bytes(config: Config) -> float:
    """What the optimizer keeps per trained parameter, in bytes."""
    return _STATE_BYTES.get(config.training.optim, _ADAM_BYTES)


def _adapter_parameters(shape: ShapeLike, names: Sequence[str], rank: int) -> int:
    return shape.layers * rank * sum(sum(shape.linear_modules[name]) for name in names)


def _quantizes(config: Config, device: Device) -> bool:
    return config.model.quantization_config.load_in_4bit and device.four_bit


def _weight_bytes(config: Config, shape: ShapeLike, device: Device, width: int) -> float:
    """Only linear layers are stored in 4 bits; embeddings, head and norms keep their precision.

    Source: bitsandbytes blocks of 64 with a 32-bit scale; double quantization keeps 8-bit scales in
    blocks of 256 (QLoRA, section 3).
    """
    linear = shape.layers * sum(inputs * outputs for inputs, outputs in shape.linear_modules.values())
    if not _quantizes(config, device):
        return float(shape.parameters * width)
    double = config.model.quantization_config.bnb_4bit_use_double_quant
    return linear * (_NF4_DOUBLE_BYTES if double else _NF4_BYTES) + (shape.parameters - linear) * width


def _width(device: Device) -> int:
    """Bytes of one weight or activation that is not quantized."""
    return 2 if device.kind == "cuda" or device.bf16 else 4


def _logit_bytes(shape: ShapeLike, tokens: int, width: int) -> float:
    """One chunk of the loss: logits in 32 bits, and beside them two copies in 16 where that is the width."""
    rows = min(tokens, max(16, _LOGIT_CHUNK_BYTES // (4 * shape.vocab_size)))
    return rows * shape.vocab_size * (8.0 if width == 2 else 4.0)


def _activation_total(
    config: Config, shape: ShapeLike, names: Sequence[str], device: Device, tokens: int
) -> float:
    """Everything kept, or with checkpointing every layer's input and what one layer needs beyond the logits.

    Why: the logits are gone when the first layer is computed again, so the two share their room.
    """
    width = _width(device)
    layer = tokens * _layer_bytes(config, shape, names, width)
    if not config.training.gradient_checkpointing:
        return shape.layers * layer + _scratch(config, shape, device)
    beyond = max(0.0, layer + _scratch(config, shape, device) - _logit_bytes(shape, tokens, width))
    return tokens * shape.layers * shape.hidden_size * width + beyond


def _layer_bytes(config: Config, shape: ShapeLike, names: Sequence[str], width: int) -> float:
    """Bytes that one layer keeps per token.

    Two norms keep their input in 32 bits; attention its queries, keys, values and output; the feed-forward
    part three vectors of its inner width; every adapter its input in 32 bits, and with dropout once more
    with a mask.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 2 * shape.hidden_size * 4
    attention = (2 * queries + 2 * keys) * width
    feed_forward = 3 * shape.intermediate_size * width
    cast = 4 if width == 2 else 0
    dropped = 5 if config.lora.lora_dropout else 0
    adapters = sum(shape.linear_modules[name][0] for name in names) * (cast + dropped)
    return float(norms + attention + feed_forward + adapters)


def _scratch(config: Config, shape: ShapeLike, device: Device) -> float:
    """A 4-bit layer is unpacked to 16 bits while it is multiplied."""
    if not _quantizes(config, device):
        return 0.0
    return max(inputs * outputs for inputs, outputs in shape.linear_modules.values()) * 2.0
