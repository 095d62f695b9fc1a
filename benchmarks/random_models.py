"""Models of random weights in well-known shapes, for figures that do not depend on what a model knows."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from tests.tiny_models import make_tiny_tokenizer

# (family, hidden, inner, layers, heads, key-value heads, head size, vocabulary), about 30, 135, 360 and 500
# million parameters: a small Llama, SmolLM2-135M and -360M, Qwen2.5-0.5B; a small Phi with fused layers.
MODELS: dict[str, tuple[str, int, int, int, int, int, int, int]] = {
    "llama-30m": ("llama", 384, 1024, 12, 6, 2, 64, 32000),
    "llama-135m": ("llama", 576, 1536, 30, 9, 3, 64, 49152),
    "llama-360m": ("llama", 960, 2560, 32, 15, 5, 64, 49152),
    "qwen2-500m": ("qwen2", 896, 4864, 24, 14, 2, 64, 151936),
    "phi3-200m": ("phi3", 768, 2048, 16, 12, 4, 64, 100352),
    "llama-1b": ("llama", 2048, 8192, 16, 32, 8, 64, 128256),
    "phi3-4b": ("phi3", 3072, 8192, 32, 24, 8, 128, 200064),
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
_WORDS = [
    "the",
    "patient",
    "asked",
    "about",
    "a",
    "visit",
    "that",
    "went",
    "well",
    "and",
    "how",
    "to",
    "take",
    "care",
    "of",
    "sleep",
    "diet",
    "pain",
    "sugar",
    "pressure",
    "and",
    "heart",
    "with",
    "walking",
    "water",
    "rest",
]


def make_model(folder: Path, name: str, device: str = "cpu", tokenizer: Path | None = None) -> Path:
    """Random weights in bf16; written once. tokenizer: the model folder to take it from, else a small one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if (folder / "config.json").exists():
        return folder
    family, hidden, inner, layers, heads, kv_heads, head, vocab = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is None:
        make_tiny_tokenizer(folder, family)
    else:
        for file in _TOKENIZER:
            shutil.copy(tokenizer / file, folder / file)
    extra: dict[str, Any] = {"head_dim": head} if family != "phi3" else {}
    if family == "phi3":
        extra |= {"original_max_position_embeddings": 4096, "sliding_window": None, "pad_token_id": 0}
    config = AutoConfig.for_model(
        family, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, vocab_size=vocab,
        max_position_embeddings=4096, tie_word_embeddings=True, **extra,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def write_varied_rows(path: Path, rows: int = 160) -> Path:
    """Answers of 80 to 1,200 words, the same ones every time."""
    chosen = random.Random(3)
    records = (
        {
            "instruction": f"Question {number}?",
            "response": " ".join(
                chosen.choice(_WORDS) for _ in range(chosen.choice([80, 150, 300, 600, 1200]))
            ),
        }
        for number in range(rows)
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
