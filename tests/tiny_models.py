"""Tiny random language models, made on the spot: under 1 MB, the same bytes every time, no torch needed.

    from tests.tiny_models import make_tiny_model, write_tiny_dataset

    folder = make_tiny_model(tmp_path / "tiny", family="phi3")   # a Hugging Face model folder
    data = write_tiny_dataset(tmp_path / "data.jsonl", rows=24)  # instruction/response records

The folder holds config.json, generation_config.json, model.safetensors, tokenizer.json,
tokenizer_config.json and chat_template.jinja, so it stands wherever a real model folder does
(`model.base_model_name` of a config, AutoModelForCausalLM, the chat worker).
Each family brings the quirk of its real namesake:

    llama    ChatML with a system role (as the starter model)
    qwen2    ChatML that adds its own system turn when there is none; biases on q, k and v
    qwen3    ChatML that rewrites earlier assistant turns (their thinking is dropped)
    phi3     fused qkv_proj and gate_up_proj; <|system|> … <|end|>
    gemma    a template that refuses the system role; scaled embeddings
    gemma2   gemma with soft-capped logits and attention
    mistral  [INST] … [/INST], the system text merged into the first user turn

`python tests/tiny_models.py FAMILY FOLDER` makes one from the command line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 64, 128, 2, 4, 2, 16
VOCABULARY, MAX_POSITIONS = 512, 1024

_CHATML_TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
_CHATML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_LLAMA = "{% for m in messages %}" + _CHATML_TURN + "{% endfor %}" + _CHATML_PROMPT
_QWEN2 = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}" + _LLAMA
)
_QWEN3 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' and loop.last %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' + m['content'] + '<|im_end|>\n' }}"
    "{% else %}" + _CHATML_TURN + "{% endif %}{% endfor %}" + _CHATML_PROMPT
)
_PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\n\n' %}"
    "{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + ns.system + m['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)

_CORPUS = [
    "What are the symptoms of asthma? Wheezing, a tight chest, cough and shortness of breath are common.",
    "How is high blood pressure treated? With a healthy diet, exercise, less salt and, if needed, medicine.",
    "Please talk to your doctor or nurse before you stop or change a medicine.",
    "You are a helpful medical AI assistant. Your responses should be accurate and kind.",
    "Diabetes means that the sugar in the blood is too high. Regular tests help to keep it in range.",
    "When should someone seek urgent care? With sudden chest pain, confusion or trouble breathing.",
    "A migraine is a strong headache, often on one side, with nausea and sensitivity to light and sound.",
    "Iron deficiency makes people tired and pale. Food rich in iron and tablets can help.",
]

_QUESTIONS = ["What is {}?", "How is {} treated?", "What are the signs of {}?", "Can {} be prevented?"]
_TOPICS = ["asthma", "migraine", "diabetes", "eczema", "gout", "anaemia", "high blood pressure", "hay fever"]
_ANSWERS = [
    "{} is common and can be treated. Talk to your doctor about the right plan for you.",
    "People with {} often need a healthy diet, exercise and regular tests.",
    "The signs of {} differ between people. A nurse can explain what to look for.",
    "Good habits lower the risk of {}, but they cannot remove it. Ask for advice early.",
]


@dataclass(frozen=True)
class Family:
    """What sets one architecture apart from the plain llama."""

    architecture: str
    model_type: str
    template: str
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str
    tied: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


_GEMMA_EXTRA = {"head_dim": HEAD_DIM, "hidden_activation": "gelu_pytorch_tanh"}
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_GEMMA_SPECIALS = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")

FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", "llama", _LLAMA, _CHATML, None, "<|im_end|>", "<|endoftext|>"),
    "qwen2": Family("Qwen2ForCausalLM", "qwen2", _QWEN2, _CHATML, None, "<|im_end|>", "<|endoftext|>"),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        "qwen3",
        _QWEN3,
        (*_CHATML, "<think>", "</think>"),
        None,
        "<|im_end|>",
        "<|endoftext|>",
        extra={"head_dim": HEAD_DIM},
    ),
    "phi3": Family(
        "Phi3ForCausalLM",
        "phi3",
        _PHI3,
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        None,
        "<|end|>",
        "<|endoftext|>",
        tied=False,
        extra={"original_max_position_embeddings": MAX_POSITIONS, "sliding_window": None},
    ),
    "gemma": Family(
        "GemmaForCausalLM",
        "gemma",
        _GEMMA,
        _GEMMA_SPECIALS,
        "<bos>",
        "<end_of_turn>",
        "<pad>",
        extra=_GEMMA_EXTRA,
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        "gemma2",
        _GEMMA,
        _GEMMA_SPECIALS,
        "<bos>",
        "<end_of_turn>",
        "<pad>",
        extra={
            **_GEMMA_EXTRA,
            "query_pre_attn_scalar": HEAD_DIM,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
            "sliding_window": 256,
        },
    ),
    "mistral": Family(
        "MistralForCausalLM",
        "mistral",
        _MISTRAL,
        ("<s>", "</s>", "[INST]", "[/INST]"),
        "<s>",
        "</s>",
        "</s>",
        tied=False,
        extra={"head_dim": HEAD_DIM, "sliding_window": None},
    ),
}


def make_tiny_model(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    """A complete random model of that family in `folder`; the same call gives the same bytes."""
    kind = FAMILIES[family]
    tokenizer = make_tiny_tokenizer(folder, family)
    ids = {
        "bos_token_id": tokenizer.token_to_id(kind.bos) if kind.bos else None,
        "eos_token_id": tokenizer.token_to_id(kind.eos),
        "pad_token_id": tokenizer.token_to_id(kind.pad),
    }
    _write_json(folder / "config.json", _config(kind) | ids)
    _write_json(
        folder / "generation_config.json", {key: value for key, value in ids.items() if value is not None}
    )
    random = np.random.default_rng(seed)
    weights = {name: _initial(random, name, shape, kind) for name, shape in _shapes(kind)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_tiny_tokenizer(folder: Path, family: str = "llama") -> Tokenizer:
    """A byte-level BPE tokenizer of 512 tokens with that family's chat template, written to `folder`."""
    kind = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in kind.specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": kind.bos,
            "eos_token": kind.eos,
            "pad_token": kind.pad,
            "model_max_length": MAX_POSITIONS,
            "clean_up_tokenization_spaces": False,
        },
    )
    (folder / "chat_template.jinja").write_text(kind.template, encoding="utf-8", newline="\n")
    return tokenizer


def write_tiny_dataset(path: Path, rows: int = 24) -> Path:
    """`rows` short instruction/response records as JSONL, no two alike, the same every time."""
    records = []
    for number in range(rows):
        topic = _TOPICS[number % len(_TOPICS)]
        turn = number // len(_TOPICS)
        asked = _QUESTIONS[turn % len(_QUESTIONS)].format(topic)
        if turn >= len(_QUESTIONS):
            asked += f" Please answer for visit number {number}."
        answer = " ".join(_ANSWERS[(number + i) % len(_ANSWERS)].format(topic) for i in range(1 + number % 3))
        records.append({"instruction": asked, "response": answer})
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def _config(kind: Family) -> dict[str, Any]:
    return {
        "architectures": [kind.architecture],
        "model_type": kind.model_type,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "tie_word_embeddings": kind.tied,
        "dtype": "float32",
        "use_cache": True,
    } | kind.extra


def _shapes(kind: Family) -> Iterator[tuple[str, tuple[int, ...]]]:
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        attention = prefix + "self_attn."
        if kind.model_type == "phi3":
            yield attention + "qkv_proj.weight", (queries + 2 * keys, HIDDEN)
            yield prefix + "mlp.gate_up_proj.weight", (2 * INTERMEDIATE, HIDDEN)
        else:
            for name, width in (("q", queries), ("k", keys), ("v", keys)):
                yield f"{attention}{name}_proj.weight", (width, HIDDEN)
                if kind.model_type == "qwen2":
                    yield f"{attention}{name}_proj.bias", (width,)
            yield prefix + "mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
            yield prefix + "mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield attention + "o_proj.weight", (HIDDEN, queries)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
        for norm in _norms(kind):
            yield f"{prefix}{norm}.weight", (HIDDEN,)
        if kind.model_type == "qwen3":
            yield attention + "q_norm.weight", (HEAD_DIM,)
            yield attention + "k_norm.weight", (HEAD_DIM,)
    yield "model.norm.weight", (HIDDEN,)
    if not kind.tied:
        yield "lm_head.weight", (VOCABULARY, HIDDEN)


def _norms(kind: Family) -> list[str]:
    norms = ["input_layernorm", "post_attention_layernorm"]
    if kind.model_type == "gemma2":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return norms


def _initial(random: np.random.Generator, name: str, shape: tuple[int, ...], kind: Family) -> np.ndarray:
    """Norms start as the identity (gemma stores them as an offset from one); the rest is small noise."""
    if "norm" in name:
        neutral = 0.0 if kind.model_type.startswith("gemma") else 1.0
        return np.full(shape, neutral, dtype=np.float32)
    return (random.standard_normal(shape) * 0.05).astype(np.float32)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    print(make_tiny_model(Path(sys.argv[2]), sys.argv[1]))
