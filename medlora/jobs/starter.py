"""Unpack a GGUF into a folder any loader reads: `python -m medlora.jobs.starter GGUF OUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(gguf: Path, out: Path) -> None:
    """Dequantise the weights to bf16 safetensors and write tokenizer, template and configs beside them."""
    torch.set_num_threads(1)
    out.mkdir(parents=True)
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.config._name_or_path = ""
    model.save_pretrained(out)
    write_tokenizer(gguf, out, context=model.config.max_position_embeddings)


def write_tokenizer(gguf: Path, out: Path, context: int) -> None:
    """The tokenizer as the model was trained with it.

    Why: the file names its pre-tokenizer `smollm` (single digits, then GPT-2's pattern); the loader
    rebuilds GPT-2's alone, which cuts blanks before a digit differently.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "unk_token": tokenizer.unk_token,
        "pad_token": tokenizer.pad_token,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    template = str(tokenizer.chat_template).replace("\r\n", "\n")
    (out / "chat_template.jinja").write_bytes(template.encode())


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
