"""The model card: what an adapter is, for whoever opens its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medlora.workspace import write_atomic

_TEXT = """---
library_name: peft
base_model: {base_name}
tags:
- lora
- medlora
---

# {adapter}

A LoRA adapter for **{base_name}**, trained with medlora on {created}; {status}.

**Not a medical device.** This adapter was not clinically reviewed. Use it behind a safety layer, as
medlora's chat does, and never as the only source of a clinical decision.

| | |
|---|---|
| Base model | {base_name}, revision {revision}, weights {base_hash} |
| Dataset | {dataset}: {rows_train} rows to train on, {rows_eval} to evaluate, SHA-256 {data_hash} |
| Adapter | rank {rank}, alpha {alpha}, on {modules}{parent} |
| Steps | {steps} of {total_steps} |
| Training loss | {train_loss} |
| Evaluation loss | {eval_loss} |

`provenance.json` holds the whole configuration, where each value came from, seeds and versions.
`medlora.json` holds the safety and sampling settings the adapter was made for.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained(BASE_MODEL_FOLDER)
model = PeftModel.from_pretrained(base, ADAPTER_FOLDER)
tokenizer = AutoTokenizer.from_pretrained(ADAPTER_FOLDER)
```
"""


def write_card(path: Path, facts: Mapping[str, Any], adapter_config: Mapping[str, Any]) -> None:
    """Write the card from an adapter's provenance and its PEFT settings."""
    base, dataset, metrics = facts["base_model"], facts["dataset"], facts["metrics"]
    text = _TEXT.format(
        adapter=facts["adapter"],
        created=facts["created"],
        status=facts["status"],
        base_name=base["name"],
        revision=base["revision"] or "unknown",
        base_hash=base["weight_hash"][:12],
        dataset=dataset["name"],
        rows_train=dataset["rows_train"],
        rows_eval=dataset["rows_eval"],
        data_hash=dataset["sha256"][:12],
        rank=adapter_config["r"],
        alpha=adapter_config["lora_alpha"],
        modules=", ".join(sorted(adapter_config["target_modules"])),
        parent=f"; goes on from {facts['parent']['name']}" if facts.get("parent") else "",
        steps=metrics["steps"],
        total_steps=metrics["total_steps"],
        train_loss=_shown(metrics["train_loss"]),
        eval_loss=_shown(metrics["eval_loss"]),
    )
    write_atomic(path, text)


def _shown(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.4f}"
