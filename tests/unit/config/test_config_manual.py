"""Every block of the configuration manual resolves when it is pasted, with notices at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medlora.config.resolve import Resolved

Resolve = Callable[..., Resolved]
Refuse = Callable[..., list[str]]

EXAMPLE = """
model:
  base_model_name: "microsoft/Phi-4-mini-instruct"
  quantization_config:
    load_in_4bit: true
    bnb_4bit_compute_dtype: "float16"
    bnb_4bit_quant_type: "nf4"
    bnb_4bit_use_double_quant: true

lora:
  r: 32
  lora_alpha: 64
  lora_dropout: 0.1
  target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"]

training:
  output_dir: "./checkpoints"
  num_train_epochs: 3
  per_device_train_batch_size: 2
  learning_rate: 1e-4
  warmup_steps: 100
  logging_steps: 10
  save_steps: 500

data:
  dataset_path: "./data/my_custom_data.jsonl"
  max_seq_length: 2048

safety:
  system_prompt: "You are a helpful medical AI assistant..."
  content_filter: true
"""
MODEL = """
model:
  base_model_name: "microsoft/Phi-4-mini-instruct"
  trust_remote_code: true
  device_map: "auto"
  quantization_config:
    load_in_4bit: true                    # in a comment: like this
    bnb_4bit_compute_dtype: "float16"
    bnb_4bit_quant_type: "nf4"
    bnb_4bit_use_double_quant: true
  attn_implementation: "flash_attention_2"
"""
LORA = """
lora:
  r: 32
  lora_alpha: 64
  lora_dropout: 0.1
  target_modules:
    - "q_proj"    # one by line
    - "k_proj"
    - "v_proj"
    - "o_proj"
  bias: "none"
  task_type: "CAUSAL_LM"
"""
TRAINING = """
training:
  output_dir: "./checkpoints"
  num_train_epochs: 3
  max_steps: -1
  per_device_train_batch_size: 2
  per_device_eval_batch_size: 2
  gradient_accumulation_steps: 4
  learning_rate: 1e-4
  warmup_steps: 100
  lr_scheduler_type: "cosine"
  optim: "adamw_torch"
  weight_decay: 0.01
  max_grad_norm: 1.0
  logging_steps: 10
  save_steps: 500
  eval_steps: 500
  gradient_checkpointing: true
  dataloader_pin_memory: false
  fp16: true
  seed: 42
  data_seed: 42
"""
DATA = """
data:
  dataset_path: "./data/my_custom_data.jsonl"
  max_seq_length: 2048
  truncation: true
  padding: false
  eval_dataset_size: 0.1
  min_length: 10
  max_length: 2048
"""
SAFETY = """
safety:
  system_prompt: |
    You are a helpful medical AI assistant. Your responses should be:
    - Accurate and evidence-based
    - Clear about limitations
  content_filter: true
  safety_keywords:
    - "emergency"
    - "diagnosis"
    - "prescription"
    - "dosage"
  defer_keywords:
    - "chest pain"
    - "difficulty breathing"
    - "severe"
    - "emergency"
"""
TEMPLATE = """
base_template: "default"
overrides:
  lora:
    r: 32
    target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"]
  training:
    learning_rate: 1e-4
    num_train_epochs: 3
  safety:
    system_prompt: "Medical AI assistant prompt..."
"""
MEMORY = """
training:
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 8
  gradient_checkpointing: true
  fp16: true
"""
STABILITY = """
training:
  learning_rate: 5e-5
  warmup_steps: 200
  max_grad_norm: 0.5

lora:
  lora_dropout: 0.05
"""
SPEED = """
model:
  attn_implementation: "flash_attention_2"

training:
  dataloader_num_workers: 4
  dataloader_pin_memory: true
  remove_unused_columns: true
"""
COSINE = 'learning_rate: 1e-4\nlr_scheduler_type: "cosine"\nwarmup_steps: 100\n'
LINEAR = 'lr_scheduler_type: "linear"\nwarmup_ratio: 0.1\n'
CONSTANT = 'lr_scheduler_type: "constant_with_warmup"\nwarmup_steps: 50\n'

BLOCKS = {
    "example": EXAMPLE,
    "model": MODEL,
    "lora": LORA,
    "training": TRAINING,
    "data": DATA,
    "safety": SAFETY,
    "template": TEMPLATE,
    "memory": MEMORY,
    "stability": STABILITY,
    "speed": SPEED,
    "cosine": COSINE,
    "linear": LINEAR,
    "constant": CONSTANT,
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_block_resolves_with_notices_at_most(resolve: Resolve, block: str) -> None:
    assert {notice.severity for notice in resolve(block).notices} <= {"notice"}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            EXAMPLE,
            {
                "model.base_model_name": "microsoft/Phi-4-mini-instruct",
                "model.quantization_config.load_in_4bit": True,
                "lora.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
                "training.learning_rate": 1e-4,
                "training.warmup_steps": 100,
                "data.dataset_path": "./data/my_custom_data.jsonl",
                "safety.system_prompt": "You are a helpful medical AI assistant...",
            },
        ),
        (MODEL, {"model.trust_remote_code": False, "model.attn_implementation": "flash_attention_2"}),
        (TRAINING, {"training.max_steps": -1, "training.fp16": True, "training.data_seed": 42}),
        (DATA, {"data.min_length": 10, "data.max_length": 2048, "data.eval_dataset_size": 0.1}),
        (
            COSINE,
            {"training.learning_rate": 1e-4, "training.warmup_steps": 100, "training.warmup_ratio": 0.0},
        ),
        (LINEAR, {"training.lr_scheduler_type": "linear", "training.warmup_ratio": 0.1}),
        (CONSTANT, {"training.lr_scheduler_type": "constant_with_warmup", "training.warmup_steps": 50}),
        (
            TEMPLATE,
            {
                "safety.system_prompt": "Medical AI assistant prompt...",
                "training.save_steps": 500,
                "model.quantization_config.load_in_4bit": True,
            },
        ),
    ],
)
def test_a_block_means_what_it_says(resolve: Resolve, block: str, expected: dict[str, Any]) -> None:
    config = resolve(block).config.model_dump(mode="json")
    for key, value in expected.items():
        read: Any = config
        for part in key.split("."):
            read = read[part]
        assert read == value, key


def test_alternatives_pasted_as_one_file_say_which_lines_repeat(refuse: Refuse) -> None:
    assert refuse(f"{COSINE}\n{LINEAR}\n{CONSTANT}") == [
        "c.yaml:5:1: lr_scheduler_type: set twice, here and in line 2; keep one of the two",
        "c.yaml:8:1: lr_scheduler_type: set twice, here and in line 2; keep one of the two",
        "c.yaml:9:1: warmup_steps: set twice, here and in line 3; keep one of the two",
    ]


def test_the_sections_pasted_together_are_one_configuration(resolve: Resolve) -> None:
    resolved = resolve(MODEL + LORA + TRAINING + DATA + SAFETY)
    assert resolved.config.lora.r == 32
    assert len(resolved.config.safety.defer_keywords) == 4
