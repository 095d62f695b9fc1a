"""Every kind of adapter that can be asked for trains for real and loads in plain PEFT with equal outputs."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch

from tests.golden.kit import Kit, end_of, losses_of

STEPS = {"max_steps": 3, "logging_steps": 1, "save_steps": 3, "eval_steps": 3}


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("llama", {"use_dora": True}),
        ("llama", {"init_lora_weights": "gaussian", "use_rslora": True}),
        ("phi3", {"init_lora_weights": "orthogonal"}),
        ("qwen3", {"layers_to_transform": [1]}),
        ("phi3", {"modules_to_save": ["lm_head"], "lora_dropout": 0.0}),
    ],
)
def test_an_adapter_of_any_kind_is_plain_peft(kit: Kit, family: str, lora: dict[str, Any]) -> None:
    config = kit.config(family, lora=lora, training=STEPS)
    run = kit.make_run(config, setup={})
    assert kit.work(run) == 0, end_of(run)
    losses = losses_of(run)
    assert len(losses) == 3 and losses[-1] < losses[0]
    folder = kit.ws.adapter("tiny")
    saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    for key, value in lora.items():
        assert saved[key] == value or key == "lora_dropout"
    base = config.model.base_model_name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from peft import PeftModelForCausalLM
        from transformers import AutoModelForCausalLM

        plain = AutoModelForCausalLM.from_pretrained(base)
        ids = torch.tensor([[5, 9, 31, 7, 2, 40]])
        before = plain(input_ids=ids).logits
        adapted = PeftModelForCausalLM.from_pretrained(plain, str(folder)).eval()
        after = adapted(input_ids=ids).logits
    assert not torch.allclose(before, after, atol=1e-5), "the adapter changes something"
    names = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    layers = lora.get("layers_to_transform")
    assert layers is None or all(f"layers.{layers[0]}." in name for name in names)


def test_noise_on_the_embeddings_changes_the_run_and_not_the_evaluation(kit: Kit) -> None:
    quiet = kit.make_run(kit.config(training=STEPS), setup={})
    noisy = kit.make_run(kit.config(training={**STEPS, "neftune_noise_alpha": 5.0}), setup={})
    assert kit.work(quiet) == 0 and kit.work(noisy) == 0
    assert losses_of(quiet) != losses_of(noisy)
    assert end_of(noisy)["status"] == "completed"
