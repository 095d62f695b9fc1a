"""What of the section `training` decides what is learned: how long, in what portions, how far at a step."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from medlora.config.declare import Section, setting
from medlora.config.training_guidance import BATCH_GUIDANCE, RATE_GUIDANCE, SCHEDULE_GUIDANCE

Scheduler = Literal[
    "cosine",
    "linear",
    "constant_with_warmup",
    "constant",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
]
Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "sgd",
]


class LearningSettings(Section):
    """How far and how fast the weights move."""

    num_train_epochs: float = setting(
        3,
        "Epochs",
        "How often the model sees the whole dataset. Two or three are usual; more on little data is learning "
        "by heart: stop when the evaluation loss rises.",
        gt=0,
        le=1000,
        unit="passes over the data",
        source="the configuration manual",
    )
    max_steps: int = setting(
        -1,
        "Step limit",
        "End after this many steps whatever the epochs say; -1 means no limit.",
        ge=-1,
        le=10_000_000,
        bounds="-1 (no limit) or a whole number of at least 1",
        unit="steps",
    )
    per_device_train_batch_size: int = setting(
        2,
        "Batch size",
        "How many records are computed at once. More is faster and needs more memory. What the model "
        "feels is batch size × accumulation.",
        ge=1,
        le=1024,
        unit="records",
        guidance=BATCH_GUIDANCE,
        source="the configuration manual: 2 for Phi-4-mini on a 6 GB GPU",
    )
    per_device_eval_batch_size: int = setting(
        2, "Evaluation batch size", "How many records are evaluated at once.", ge=1, le=1024, unit="records"
    )
    gradient_accumulation_steps: int = setting(
        4,
        "Accumulation",
        "How many batches are added up before the weights move: a larger effective batch in the same memory.",
        ge=1,
        le=1024,
        unit="batches",
        source="the configuration manual",
    )
    learning_rate: float = setting(
        1e-4,
        "Learning rate",
        "How far the weights move at each step. Too high and the loss jumps or turns into nonsense; too low "
        "and nothing is learned.",
        gt=0,
        le=1e6,
        bounds="a number above 0",
        guidance=RATE_GUIDANCE,
        example="1e-4",
        source="the configuration manual",
    )
    warmup_steps: int = setting(
        0,
        "Warmup steps",
        "Over how many steps the learning rate rises to its full value. More is calmer. Shortened, with a "
        "notice, when the run has fewer steps.",
        ge=0,
        le=1_000_000,
        unit="steps",
    )
    warmup_ratio: float = setting(
        0.03,
        "Warmup share",
        "The same as a share of the whole run: 0.1 is a tenth. The one of the two that is set later counts.",
        ge=0,
        lt=1,
        source="QLoRA (Dettmers et al. 2023), table 9",
    )
    lr_scheduler_type: Scheduler = setting(
        "cosine",
        "Schedule",
        "How the learning rate changes over the run.",
        guidance=SCHEDULE_GUIDANCE,
        source="the configuration manual: cosine with warmup is recommended",
    )
    optim: Optimizer = setting(
        "adamw_torch",
        "Optimizer",
        "The rule by which weights move. The 8-bit and paged ones save memory on NVIDIA GPUs.",
        source="the configuration manual",
    )
    weight_decay: float = setting(
        0.01,
        "Weight decay",
        "A pull of all adapter weights towards zero.",
        ge=0,
        le=1,
        source="the configuration manual",
    )
    max_grad_norm: float = setting(
        1.0,
        "Gradient clipping",
        "Steps larger than this are shortened: one odd record cannot spoil the run. 0 turns it "
        "off, 0.5 is careful.",
        ge=0,
        le=1000,
        source="the configuration manual",
    )

    @field_validator("max_steps")
    @classmethod
    def _refuse_zero_steps(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0 steps would train nothing")
        return value
