"""How much memory a training step takes, traced on tensors without data: `python -m medlora.jobs.memory`.

One JSON object comes on stdin and one goes to stdout. The model is built from its configuration alone, with
the adapter, the attention and the loss that a run would use, and one step is computed on tensors that have
a shape and a type but no content; what is alive at each moment is added up. Layers of one kind take alike,
so two models of few layers tell the slope, and the rest is a straight line.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import AttentionMaskInterface
from transformers.utils import logging as transformers_logging

from medlora.jobs.memory_four_bit import replace_linears
from medlora.jobs.memory_live import LiveBytes, Sizes
from medlora.training.attention import flat_is_proven, register_flat_attention
from medlora.training.fit import run_decoder
from medlora.training.loss import chunked_loss, head_is_plain, stock_loss

_ON_A_GPU = "medlora_traced"


@dataclass(frozen=True)
class Case:
    """One step to be traced.

    model: a parsed config.json. device: the run's, cpu, cuda or mps. rows: tokens of each row that is
    computed at once. labels: the share of tokens that is trained on. state_bytes: of the optimizer, per
    trained parameter.
    """

    model: dict[str, Any]
    modules: list[str]
    rows: list[int]
    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "sdpa"
    flat: bool = True
    rank: int = 16
    dropout: float = 0.0
    four_bit: bool = False
    double_quant: bool = False
    checkpointing: bool = False
    accumulates: bool = False
    labels: float = 1.0
    state_bytes: float = 8.0


def case_of(question: dict[str, Any]) -> Case:
    """The step that a question of the forecast service asks for.

    Rows lie end to end where the run would lay them so; else they are padded, as many as were set.
    """
    asked = dict(question)
    sequence, batch, portion = (int(asked.pop(name)) for name in ("sequence", "batch", "portion"))
    model = _language_part(asked["model"])
    known = AutoConfig.for_model(**model)
    eager = asked["attention"] == "eager" or bool(getattr(known, "attn_logit_softcapping", None))
    flat = not eager and flat_is_proven(model, sequence)
    rows = [sequence] * (portion if flat else batch)
    attention = "eager" if eager else str(asked["attention"])
    return Case(**{**asked, "model": model, "rows": rows, "flat": flat, "attention": attention})


def _language_part(model: dict[str, Any]) -> dict[str, Any]:
    """The language model's own configuration, where the file describes a larger whole."""
    inner = model.get("text_config")
    return model if "num_hidden_layers" in model or not isinstance(inner, dict) else inner


def trace(case: Case) -> dict[str, Any]:
    """Bytes at the peak of a step, by part, and the number of trained parameters."""
    begin = time.perf_counter()
    layers = int(case.model["num_hidden_layers"])
    period = _period(case.model)
    few, more = min(layers, period), min(layers, 2 * period)
    low, trained_low = _trace_layers(case, few)
    high, trained_high = (low, trained_low) if more == few else _trace_layers(case, more)
    steps = (layers - few) / (more - few) if more > few else 0.0
    parts = _extend(low, high, steps)
    trained = round(trained_low + steps * (trained_high - trained_low))
    return {"parts": dict(parts), "trainable": trained, "seconds": round(time.perf_counter() - begin, 2)}


def _extend(low: Sizes, high: Sizes, steps: float) -> Sizes:
    """The parts of the whole model, from those of two models of few layers.

    Why the total first: two moments of a step can be nearly alike, so that one trace has its peak in the
    loss and the other in a layer; the totals lie on a straight line all the same.
    """
    total = low.total() + steps * (high.total() - low.total())
    even = ("weights", "adapter", "optimizer")
    fixed = {name: low[name] + steps * (high[name] - low[name]) for name in even}
    fixed["logits"] = high["logits"]
    parts = Counter({name: round(size) for name, size in fixed.items()})
    parts["activations"] = round(total - parts.total())
    return parts


def _period(model: dict[str, Any]) -> int:
    """After how many layers the kinds of layers repeat."""
    kinds = model.get("layer_types")
    if not isinstance(kinds, list) or len(set(kinds)) < 2:
        return 1
    fits = (size for size in range(1, len(kinds)) if kinds[size:] == kinds[: len(kinds) - size])
    return next(fits, len(kinds))


def _trace_layers(case: Case, layers: int) -> tuple[Sizes, int]:
    live = LiveBytes()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = _build(case, layers)
    with mode:
        _fill(model, live, case)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        with live:
            with live.making("optimizer"):
                state = [torch.empty(int(w.numel() * case.state_bytes), dtype=torch.uint8) for w in trained]
            for _ in range(2 if case.accumulates else 1):
                _step(model, case, live)
                for weight in trained:
                    if weight.grad is not None:
                        live.add(weight.grad, "adapter")
    del state
    return live.peak, sum(weight.numel() for weight in trained)


def _build(case: Case, layers: int) -> PeftModel:
    """The model with its adapter on the meta device: nothing is allocated."""
    settings = {key: value for key, value in case.model.items() if key != "quantization_config"}
    if isinstance(settings.get("layer_types"), list):
        settings["layer_types"] = settings["layer_types"][:layers]
    config = AutoConfig.for_model(**{**settings, "num_hidden_layers": layers})
    dtype: torch.dtype = getattr(torch, case.dtype)
    attention = _flat_attention(case.device) if case.flat else case.attention
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    base.config.use_cache = False
    base.requires_grad_(False)
    if case.checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
    if case.four_bit:
        replace_linears(base, double_quant=case.double_quant)
    adapter = LoraConfig(
        r=case.rank, lora_dropout=case.dropout, target_modules=case.modules, task_type="CAUSAL_LM"
    )
    model = get_peft_model(base, adapter)
    if case.dtype != "float32":
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.cast_input_dtype_enabled = False
    return model.train()


def _fill(model: nn.Module, live: LiveBytes, case: Case) -> None:
    """Give every weight a shape on the CPU, still without data, and count it.

    Why after building: PEFT moves its layers about, which tensors without data do not allow.
    """
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, old in table.items():
                if old is None:
                    continue
                if id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    if isinstance(old, nn.Parameter):
                        new = nn.Parameter(new, requires_grad=old.requires_grad)
                    made[id(old)] = (old, new)
                    live.add(new, "adapter" if new.requires_grad else "weights")
                table[name] = made[id(old)][1]  # type: ignore[assignment]


def _flat_attention(device: str) -> str:
    """The attention of flat rows on that device, though the trace itself is on a CPU's tensors.

    Why: on a CPU our own keeps every row's weights; on a GPU the flash kernels keep next to nothing.
    """
    name = register_flat_attention()
    if device == "cpu":
        return name
    AttentionInterface.register(_ON_A_GPU, _attend_as_on_a_gpu)
    AttentionMaskInterface.register(_ON_A_GPU, lambda *args, **kwargs: None)
    return _ON_A_GPU


def _attend_as_on_a_gpu(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    pieces = [
        F.scaled_dot_product_attention(
            query[:, :, begin:end],
            key[:, :, begin:end],
            value[:, :, begin:end],
            is_causal=True,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for begin, end in itertools.pairwise(kwargs["borders"])
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2).contiguous(), None


def _batch(case: Case) -> dict[str, Any]:
    if case.flat:
        tokens = sum(case.rows)
        places = torch.arange(tokens)[None]
        return {
            "input_ids": torch.zeros(1, tokens, dtype=torch.long),
            "position_ids": places,
            "borders": (0, *itertools.accumulate(case.rows)),
        }
    shape = (len(case.rows), max(case.rows))
    ones = torch.ones(shape, dtype=torch.long)
    return {"input_ids": torch.zeros(shape, dtype=torch.long), "attention_mask": ones}


def _step(model: PeftModel, case: Case, live: LiveBytes) -> None:
    """Forward and backward pass as the Trainer's, with the loss of label positions."""
    base = model.get_base_model()
    dtype: torch.dtype = getattr(torch, case.dtype)
    batch = _batch(case)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        if head_is_plain(base):
            hidden = run_decoder(model, base, batch)
            kept = max(1, round(case.labels * sum(case.rows)))
            targets = torch.zeros(kept, dtype=torch.long)
            head = base.get_output_embeddings().weight
            with live.making("logits"):
                rows = hidden.reshape(-1, hidden.shape[-1])[targets].to(head.dtype)
                loss = chunked_loss(rows, head, targets, float(kept))
        else:
            with live.making("logits"):
                logits = model(**batch).logits
                loss = stock_loss(logits, torch.zeros(logits.shape[:2], dtype=torch.long), 1.0)
    loss.backward()


if __name__ == "__main__":
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(json.dumps(trace(case_of(json.load(sys.stdin)))))  # noqa: T201 - the answer itself
