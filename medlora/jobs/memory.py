"""Peak memory of one training step, traced on the real architecture without its weights.

Why a trace: activations depend on what an architecture saves for its backward pass, which no formula
knows. The model is built on the meta device, where tensors have shapes but no bytes, one step is run,
and every storage that would be alive is counted.

Run as `python -m medlora.jobs.memory`: a request as JSON on stdin, the parts as JSON on stdout.
"""

from __future__ import annotations

import json
import sys
import warnings
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, masking_utils
from transformers.masking_utils import AttentionMaskInterface

from medlora.training.loss import head_is_plain, stock_loss

# NF4 with double quantisation: 4 bits a weight and a byte-sized scale for 64 of them, themselves quantised.
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_TRACED_ATTENTION = "medlora_traced"


@dataclass(frozen=True)
class TraceRequest:
    """One step to trace: micro_batch sequences of `length` tokens each.

    label_fraction: the part of the tokens that is trained on; the default is the worst case.
    """

    model_config: dict[str, Any]
    target_modules: list[str]
    rank: int
    micro_batch: int
    length: int
    gradient_checkpointing: bool = False
    dtype: str = "bfloat16"
    four_bit: bool = False
    label_fraction: float = 1.0


@dataclass
class LiveBytes(TorchDispatchMode):
    """Counts the bytes of every storage that is alive, and their peak."""

    current: int = 0
    peak: int = 0
    _known: weakref.WeakKeyDictionary[Any, int] = field(default_factory=weakref.WeakKeyDictionary)

    def __post_init__(self) -> None:
        super().__init__()

    def watch(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage from now until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.current += size
        self.peak = max(self.peak, self.current)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.current -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_iter(out):
            if isinstance(leaf, torch.Tensor):
                self.watch(leaf)
        return out


class _FusedAttention(torch.autograd.Function):
    """Shapes and saved tensors of a fused attention kernel, without its arithmetic.

    Why: on meta tensors torch falls back to plain matrices of scores, which no real kernel holds.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query)
        rows = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, rows)
        return out.transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _fused_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    return _FusedAttention.apply(query, key, value), None


def trace_step(request: TraceRequest) -> dict[str, int]:
    """Bytes by part: weights, adapter, optimizer, activations, logits; gradients count to the adapter.

    `activations` is the growth of a forward and backward pass over what stays; `logits` that of head and
    loss alone.
    """
    model = _build(request)
    sizes = _count_parameters(model, request)
    hidden_peak = _step_growth(model, request, with_loss=False)
    full_peak = _step_growth(model, request, with_loss=True)
    activations = hidden_peak - sizes["gradients"]
    if request.four_bit:  # the backend unpacks one matrix at a time to multiply with it
        activations += sizes["largest_linear"]
    return {
        "weights": sizes["weights"],
        "adapter": sizes["adapter"] + sizes["gradients"],
        "optimizer": sizes["optimizer"],
        "activations": max(activations, 0),
        "logits": max(full_peak - hidden_peak, 0),
    }


def _build(request: TraceRequest) -> nn.Module:
    settings = dict(request.model_config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    AttentionInterface.register(_TRACED_ATTENTION, _fused_attention)
    AttentionMaskInterface.register(_TRACED_ATTENTION, lambda *args, **kwargs: None)
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(
            config,
            dtype=getattr(torch, request.dtype),
            attn_implementation=_TRACED_ATTENTION,
        )
    base.tie_weights()
    base.requires_grad_(False)
    if request.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    lora = LoraConfig(r=request.rank, target_modules=request.target_modules, task_type="CAUSAL_LM")
    model = get_peft_model(base, lora, low_cpu_mem_usage=True)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    return model.train()


def _count_parameters(model: nn.Module, request: TraceRequest) -> dict[str, int]:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    head = id(model.get_output_embeddings().weight)  # type: ignore[operator]
    weights, largest = 0.0, 0
    linears = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module.weight) != head
    }
    for parameter in model.parameters():
        if parameter.requires_grad:
            continue
        size = parameter.numel() * parameter.element_size()
        if request.four_bit and id(parameter) in linears:
            largest = max(largest, size)
            weights += parameter.numel() * _NF4_BYTES
        else:
            weights += size
    return {
        "weights": int(weights),
        "adapter": 4 * trained,
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "largest_linear": largest,
    }


def _step_growth(model: nn.Module, request: TraceRequest, *, with_loss: bool) -> int:
    """The most bytes that one forward and backward pass holds beyond the parameters."""
    batch = _batch(request)
    live = LiveBytes()
    for tensor in (*model.parameters(), *model.buffers()):
        live.watch(tensor)
    before = live.current
    with live:
        decoder = model.get_base_model().get_decoder()  # type: ignore[operator]
        shift_labels = batch.pop("shift_labels")
        hidden = decoder(**batch, use_cache=False).last_hidden_state
        _loss(model, hidden, shift_labels, with_loss=with_loss).backward()
    for parameter in model.parameters():
        parameter.grad = None
    return live.peak - before


def _loss(model: nn.Module, hidden: torch.Tensor, labels: torch.Tensor, *, with_loss: bool) -> torch.Tensor:
    if not with_loss:
        return hidden.sum()
    head = model.get_output_embeddings()  # type: ignore[operator]
    if not head_is_plain(model):
        return stock_loss(head(hidden), torch.zeros_like(labels))
    # A mask has no shape without values: the label rows are taken by their number instead.
    rows = hidden[..., : labels.shape[-1], :]
    return label_loss_of_rows(rows, head.weight)


def label_loss_of_rows(rows: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """The training loss over rows that are all labels."""
    from medlora.training.loss import _ChunkedCrossEntropy

    flat_rows = rows.reshape(-1, rows.shape[-1])
    labels = torch.zeros(len(flat_rows), dtype=torch.long, device=rows.device)
    return _ChunkedCrossEntropy.apply(flat_rows.to(head.dtype), head, labels, 1.0)


def _batch(request: TraceRequest) -> dict[str, Any]:
    """One row with all sequences end to end: as many tokens as the step holds at once."""
    tokens = request.micro_batch * request.length
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    return {"input_ids": ids, "shift_labels": ids[:, : max(1, int(tokens * request.label_fraction))]}


def main() -> None:
    """Read a request, print the parts."""
    warnings.simplefilter("ignore")
    # It reads the values of position_ids, which meta tensors lack; no sequence here is packed its way.
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    request = TraceRequest(**json.load(sys.stdin))
    json.dump(trace_step(request), sys.stdout)


if __name__ == "__main__":
    main()
