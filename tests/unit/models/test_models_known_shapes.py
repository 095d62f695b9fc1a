"""The shapes that are known by heart add up to the parameters that their makers state."""

from __future__ import annotations

import pytest

from medlora.models.architecture import facts_from_config
from medlora.models.files import read_facts
from medlora.models.known_shapes import known_config, known_models
from medlora.workspace import Workspace

# Millions of parameters, as their model cards have it.
STATED = {
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361.8,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1711.4,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1100.0,
    "meta-llama/Llama-3.2-1B-Instruct": 1235.8,
    "meta-llama/Llama-3.2-3B-Instruct": 3212.7,
    "meta-llama/Llama-3.1-8B-Instruct": 8030.3,
    "Qwen/Qwen2.5-0.5B-Instruct": 494.0,
    "Qwen/Qwen2.5-1.5B-Instruct": 1543.7,
    "Qwen/Qwen2.5-3B-Instruct": 3085.9,
    "Qwen/Qwen2.5-7B-Instruct": 7615.6,
    "Qwen/Qwen3-0.6B": 596.0,
    "Qwen/Qwen3-1.7B": 1720.6,
    "Qwen/Qwen3-4B": 4022.5,
    "Qwen/Qwen3-8B": 8190.7,
    "mistralai/Mistral-7B-Instruct-v0.3": 7248.0,
    "BioMistral/BioMistral-7B": 7241.7,
    "microsoft/Phi-3-mini-4k-instruct": 3821.1,
    "microsoft/Phi-3.5-mini-instruct": 3821.1,
    "microsoft/phi-4": 14659.5,
    "google/gemma-2-2b-it": 2614.3,
    "google/gemma-3-1b-it": 999.9,
}


@pytest.mark.parametrize("name", known_models())
def test_a_known_shape_has_as_many_parameters_as_stated(name: str) -> None:
    facts = facts_from_config(known_config(name) or {})
    assert facts.parameters / 1e6 == pytest.approx(STATED[name], rel=1e-3)


def test_a_known_model_needs_no_download_to_be_checked(tmp_path) -> None:
    ws = Workspace.open(tmp_path)
    facts = read_facts(ws, "qwen/qwen3-4b")
    assert facts is not None
    assert facts.layers == 36
    assert read_facts(ws, "someone/unheard-of") is None
