"""Tiny models that say one given sentence: an adapter trained on it until it can do nothing else."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from medlora.dataset.render import ChatTokenizer

QUESTION = "What is asthma?"
SAYS = "Asthma is common. It can be treated well."


def make_speaking_adapter(
    base: Path, folder: Path, says: str, *, question: str = QUESTION, steps: int = 200
) -> Path:
    """A published adapter on `base` that answers `question` (and much else) with `says`, greedily."""
    import torch

    torch.manual_seed(0)
    tokenizer = ChatTokenizer.load(base)
    record = [{"role": "user", "content": question}, {"role": "assistant", "content": says}]
    encoded = tokenizer.encode_record(record)
    ids = torch.tensor([encoded.ids])
    labels = ids.masked_fill(~torch.tensor([encoded.trained]), -100)
    adapted = attach_lora(base, r=16, lora_alpha=32, target_modules="all-linear")
    optimizer = torch.optim.AdamW(
        [weight for weight in adapted.parameters() if weight.requires_grad], lr=1e-2, weight_decay=0.0
    )
    for _ in range(steps):
        loss = adapted(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.005:
            break
    return publish_adapter(adapted, base, folder)


def attach_lora(base: Path, **settings: Any) -> Any:
    """The model in `base` with fresh LoRA weights that change nothing yet."""
    with warnings.catch_warnings():
        # PEFT asks transformers for a property that transformers has renamed.
        warnings.simplefilter("ignore", FutureWarning)
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base)
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))


def publish_adapter(adapted: Any, base: Path, folder: Path) -> Path:
    """The adapter's folder as a run leaves it: weights, settings, provenance."""
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    provenance = {"base_model": {"name": str(base), "revision": None, "weight_hash": digest}}
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    return folder
