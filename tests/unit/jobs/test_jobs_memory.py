"""The trace of a training step: what it counts is what the step's tensors take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medlora.config.memory import Device, from_trace
from medlora.config.schema import Config
from medlora.jobs.memory import Case, _trace_layers, case_of, trace
from medlora.models.architecture import built_in_config, facts_from_config
from medlora.models.known_shapes import known_config, known_models

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

STARTER = built_in_config("starter") or {}
CASE = Case(STARTER, ["q_proj", "v_proj"], [64, 100], rank=8)


def test_weights_adapter_and_optimizer_are_counted_to_the_byte() -> None:
    answer = trace(CASE)
    facts = facts_from_config(STARTER)
    trained = facts.lora_parameters(["q_proj", "v_proj"], 8)
    parts = answer["parts"]
    assert answer["trainable"] == trained
    # Beside the parameters: the frequencies of the positions, a few bytes.
    assert parts["weights"] == pytest.approx(facts.parameters * 4, abs=4096)
    assert (parts["adapter"], parts["optimizer"]) == (trained * 4, trained * 8)
    assert answer["seconds"] > 0


@pytest.mark.parametrize("checkpointing", [False, True])
def test_few_layers_tell_of_all(checkpointing: bool) -> None:
    case = replace(CASE, checkpointing=checkpointing, dtype="bfloat16", dropout=0.1)
    whole, trained = _trace_layers(case, 30)
    answer = trace(case)
    assert sum(answer["parts"].values()) == pytest.approx(whole.total(), rel=1e-3)
    assert answer["trainable"] == trained


def test_what_saves_memory_is_seen_to_save_it() -> None:
    plain = trace(CASE)["parts"]
    assert trace(replace(CASE, checkpointing=True))["parts"]["activations"] < 0.2 * plain["activations"]
    assert trace(replace(CASE, dtype="bfloat16"))["parts"]["weights"] < 0.51 * plain["weights"]
    packed = trace(replace(CASE, four_bit=True, double_quant=True))["parts"]
    assert 0.3 < packed["weights"] / plain["weights"] < 0.4  # the embeddings stay whole
    added = trace(replace(CASE, accumulates=True))["parts"]
    assert added["adapter"] == 2 * plain["adapter"]


def question(model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "model": model, "modules": list(facts_from_config(model).linear_modules), "sequence": 64, "batch": 2,
        "portion": 4, "device": "cpu", "dtype": "float32", "attention": "sdpa", "rank": 8, "dropout": 0.0,
        "four_bit": False, "double_quant": False, "checkpointing": False, "accumulates": False,
        "state_bytes": 8.0,
    } | changes  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "phi3", "gemma2", "gemma3_text"])
def test_every_family_can_be_traced(family: str) -> None:
    configs = [known_config(name) or {} for name in known_models()]
    model = next(config for config in configs if config["model_type"] == family)
    case = case_of(question(model, dtype="bfloat16"))
    assert case.flat == (not family.startswith("gemma"))
    assert len(case.rows) == (4 if case.flat else 2)
    parts = trace(case)["parts"]
    assert parts["weights"] == pytest.approx(facts_from_config(model).parameters * 2, rel=0.01)
    assert parts["activations"] > 0


def test_phi_4_mini_in_four_bits_takes_no_more_than_five_and_a_half_gigabytes() -> None:
    """Two records of 2,048 tokens at a time, with everything counted, on a GPU."""
    model = built_in_config("microsoft/Phi-4-mini-instruct") or {}
    asked = question(
        model,
        modules=["qkv_proj", "o_proj"], sequence=2048, portion=2, device="cuda", dtype="bfloat16", rank=32,
        dropout=0.1, four_bit=True, double_quant=True, checkpointing=True, accumulates=True,
    )  # fmt: skip
    answer = trace(case_of(asked))
    config = Config.model_validate({"training": {"gradient_checkpointing": True}})
    forecast = from_trace(
        answer["parts"], answer["trainable"], Device("cuda"), config, facts_from_config(model)
    )
    assert 4.5 < forecast.total_gib * 2**30 / 1e9 < 5.5
