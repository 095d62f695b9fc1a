from __future__ import annotations

import pytest

from medlora.errors import UserError
from medlora.models.architecture import (
    KNOWN_MODEL_TYPES,
    built_in_facts,
    facts_from_config,
    fit_target_modules,
)

TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
VARIANTS = [
    {"model_type": "llama"},
    {"model_type": "llama", "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    {"model_type": "llama", "head_dim": 12},
    {"model_type": "smollm3"},
    {"model_type": "mistral", "head_dim": 16},
    {"model_type": "qwen2"},
    {"model_type": "qwen3", "head_dim": 16},
    {"model_type": "qwen3", "attention_bias": True, "head_dim": 8},
    {"model_type": "phi3"},
    {"model_type": "phi3", "tie_word_embeddings": True},
    {"model_type": "gemma", "head_dim": 16},
    {"model_type": "gemma2", "head_dim": 16},
    {"model_type": "gemma3_text", "head_dim": 16},
]
REAL = {
    "SmolLM2-135M": (built_in_facts("starter"), 134_515_008),
    "Phi-4-mini": (built_in_facts("microsoft/Phi-4-mini-instruct"), 3_836_021_760),
    "Qwen2.5-0.5B": (
        facts_from_config(
            {
                "model_type": "qwen2",
                "hidden_size": 896,
                "intermediate_size": 4864,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "vocab_size": 151936,
                "tie_word_embeddings": True,
            }
        ),
        494_032_768,
    ),
}


@pytest.mark.torch
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(map(str, variant.values())))
def test_parameters_and_linear_layers_are_those_of_the_real_implementation(variant):
    import torch
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**{**TINY, **variant})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    facts = facts_from_config(config.to_dict())
    assert facts.parameters == sum(weight.numel() for weight in model.parameters())
    inner = model.get_decoder().layers[0]
    layers = {name.rsplit(".", 1)[-1]: m for name, m in inner.named_modules() if isinstance(m, nn.Linear)}
    assert facts.linear_modules == {name: (m.in_features, m.out_features) for name, m in layers.items()}
    assert facts.layers == config.num_hidden_layers


def test_every_known_family_is_among_the_variants():
    assert {variant["model_type"] for variant in VARIANTS} == set(KNOWN_MODEL_TYPES)


@pytest.mark.parametrize("name", REAL)
def test_real_models_have_their_published_size(name):
    facts, parameters = REAL[name]
    assert facts.parameters == parameters


def test_lora_parameters_are_rank_times_both_sides_of_each_layer():
    facts = built_in_facts("starter")
    assert facts.lora_parameters(["q_proj", "v_proj"], 8) == 30 * 8 * (576 + 576 + 576 + 192)


PHI = built_in_facts("microsoft/Phi-4-mini-instruct")
LLAMA = built_in_facts("starter")


def test_split_names_become_the_fused_layer_with_a_notice():
    modules, notices, errors = fit_target_modules(["q_proj", "k_proj", "v_proj", "o_proj"], PHI)
    assert modules == ["qkv_proj", "o_proj"]
    assert notices == [
        "q_proj, k_proj, v_proj: this model (phi3) keeps them in one layer; qkv_proj is adapted instead"
    ]
    assert errors == []


def test_gate_and_up_become_the_fused_layer_once():
    modules, notices, _ = fit_target_modules(["qkv_proj", "q_proj", "gate_proj", "up_proj"], PHI)
    assert modules == ["qkv_proj", "gate_up_proj"]
    assert len(notices) == 2


def test_a_name_that_matches_nothing_is_an_error_that_lists_what_there_is():
    modules, _, errors = fit_target_modules(["q_proj", "query"], LLAMA)
    assert modules == ["q_proj"]
    assert errors == [
        "this model (llama) has no linear layer of that name (got 'query'); "
        "there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or all-linear"
    ]


def test_a_fused_name_on_a_split_model_is_an_error():
    assert fit_target_modules(["qkv_proj"], LLAMA)[2] == [
        "this model (llama) has no linear layer of that name (got 'qkv_proj'); "
        "there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or all-linear"
    ]


def test_all_linear_is_every_layer_but_the_head():
    assert fit_target_modules("all-linear", PHI) == (
        ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        [],
        [],
    )


def test_an_unknown_family_is_refused_in_words():
    with pytest.raises(UserError) as caught:
        facts_from_config({"model_type": "mamba"})
    assert str(caught.value) == (
        "model: model_type: this family is not known (got 'mamba'); known are gemma, gemma2, gemma3_text, "
        "llama, mistral, phi3, qwen2, qwen3, smollm3"
    )


def test_a_config_without_its_sizes_is_refused_in_words():
    with pytest.raises(UserError) as caught:
        facts_from_config({"model_type": "llama", "hidden_size": "big"})
    assert str(caught.value) == (
        "model: config.json: hidden_size is missing or not a positive whole number (got 'big')"
    )
