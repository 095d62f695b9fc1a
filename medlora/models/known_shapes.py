"""The shapes of models that people often name, so that checks and forecasts need no download."""

from __future__ import annotations

from typing import Any

# As in each model's config.json: type, width, inner width, layers, heads, key-value heads, head size,
# vocabulary, whether embeddings and head share their weights.
_ROWS = """
HuggingFaceTB/SmolLM2-360M-Instruct      llama        960  2560 32 15  5  64  49152 tied
HuggingFaceTB/SmolLM2-1.7B-Instruct      llama       2048  8192 24 32 32  64  49152 tied
TinyLlama/TinyLlama-1.1B-Chat-v1.0       llama       2048  5632 22 32  4  64  32000 apart
meta-llama/Llama-3.2-1B-Instruct         llama       2048  8192 16 32  8  64 128256 tied
meta-llama/Llama-3.2-3B-Instruct         llama       3072  8192 28 24  8 128 128256 tied
meta-llama/Llama-3.1-8B-Instruct         llama       4096 14336 32 32  8 128 128256 apart
Qwen/Qwen2.5-0.5B-Instruct               qwen2        896  4864 24 14  2  64 151936 tied
Qwen/Qwen2.5-1.5B-Instruct               qwen2       1536  8960 28 12  2 128 151936 tied
Qwen/Qwen2.5-3B-Instruct                 qwen2       2048 11008 36 16  2 128 151936 tied
Qwen/Qwen2.5-7B-Instruct                 qwen2       3584 18944 28 28  4 128 152064 apart
Qwen/Qwen3-0.6B                          qwen3       1024  3072 28 16  8 128 151936 tied
Qwen/Qwen3-1.7B                          qwen3       2048  6144 28 16  8 128 151936 tied
Qwen/Qwen3-4B                            qwen3       2560  9728 36 32  8 128 151936 tied
Qwen/Qwen3-8B                            qwen3       4096 12288 36 32  8 128 151936 apart
mistralai/Mistral-7B-Instruct-v0.3       mistral     4096 14336 32 32  8 128  32768 apart
BioMistral/BioMistral-7B                 mistral     4096 14336 32 32  8 128  32000 apart
microsoft/Phi-3-mini-4k-instruct         phi3        3072  8192 32 32 32  96  32064 apart
microsoft/Phi-3.5-mini-instruct          phi3        3072  8192 32 32 32  96  32064 apart
microsoft/phi-4                          phi3        5120 17920 40 40 10 128 100352 apart
google/gemma-2-2b-it                     gemma2      2304  9216 26  8  4 256 256000 tied
google/gemma-3-1b-it                     gemma3_text 1152  6912 26  4  1 256 262144 tied
"""
_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)


def known_config(name: str) -> dict[str, Any] | None:
    """What a config.json of that model says of its shape, None for a model that is not listed."""
    for row in _ROWS.strip().split("\n"):
        model, family, *sizes, embeddings = row.split()
        if model.lower() == name.lower():
            shape = dict(zip(_KEYS, map(int, sizes), strict=True))
            return {"model_type": family, **shape, "tie_word_embeddings": embeddings == "tied"}
    return None


def known_models() -> list[str]:
    """Every model listed here."""
    return [row.split()[0] for row in _ROWS.strip().split("\n")]
