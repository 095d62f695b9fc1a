"""The section `training`: what is learned, what is recorded and kept, and on what it is computed."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from medlora.config.declare import setting
from medlora.config.settings_learning import LearningSettings


class TrainingSettings(LearningSettings):
    """How the adapter is trained."""

    output_dir: str = setting(
        "./checkpoints",
        "Checkpoint folder",
        "Where checkpoints go. A relative folder lies inside the run's own folder, so runs never overwrite "
        "each other.",
        min_length=1,
        max_length=300,
    )
    logging_steps: int = setting(
        10,
        "Log every",
        "How often loss and learning rate are recorded. The first step always is.",
        ge=1,
        le=1_000_000,
        unit="steps",
    )
    save_steps: int = setting(
        500,
        "Checkpoint every",
        "How often progress is saved. It is also saved at least every five minutes and at the end.",
        ge=1,
        le=10_000_000,
        unit="steps",
    )
    eval_steps: int | None = setting(
        None,
        "Evaluate every",
        "How often the held-out records are scored. Without a value: whenever a checkpoint is made.",
        ge=1,
        le=10_000_000,
        unit="steps",
    )
    save_total_limit: int = setting(
        3,
        "Checkpoints kept",
        "How many checkpoints stay on disk. At least two, so that one cut off half-way has a predecessor.",
        ge=2,
        le=1000,
        unit="checkpoints",
    )
    load_best_model_at_end: bool | None = setting(
        None,
        "Keep the best",
        "Publish the adapter with the lowest evaluation loss instead of the last one. Without a value: yes, "
        "if there are records to evaluate on.",
    )
    early_stopping_patience: int | None = setting(
        None,
        "Early stopping",
        "End the run when this many evaluations in a row brought no better loss. Without a value: never.",
        ge=1,
        le=1000,
        unit="evaluations",
    )
    num_processes: int = setting(
        1,
        "Processes",
        "How many copies of the model learn at once, each on its own GPU (or its share of a CPU's cores) and "
        "its own records: what a step sees is batch size × accumulation × processes.",
        ge=1,
        le=64,
        unit="processes",
    )
    devices: list[int] | Literal["all"] = setting(
        "all",
        "GPUs used",
        "Which GPUs the run may use, by number from 0; the first ones when it needs fewer. Two runs on "
        "different GPUs go at the same time.",
        example="[0, 1]",
        bounds="a list of numbers, or all",
    )
    num_machines: int = setting(
        1,
        "Machines",
        "How many computers learn together, each with num_processes. All see the same home folder; the "
        "others join by hand, with the line that the run's first notice gives.",
        ge=1,
        le=64,
        unit="computers",
    )
    sharding: Literal["none", "full"] = setting(
        "none",
        "Sharding",
        "What several processes do with the base model: with `none` each holds the whole of it; with `full` "
        "each keeps its share and fetches a layer when it computes it, for a model that is larger than one "
        "GPU. What is learned is the same; a step takes longer. Not with 4-bit weights.",
        source="FSDP 2 (fully_shard), through transformers' loading",
    )
    meeting_point: str | None = setting(
        None,
        "Meeting point",
        "Where the machines of a run meet: address and free port of the first one. What goes over that "
        "network is neither encrypted nor behind a password.",
        max_length=200,
        pattern=r"^[^\s:]+:\d{2,5}$",
        bounds="an address and a port, such as 10.0.0.5:29500",
        example="10.0.0.5:29500",
    )
    gradient_checkpointing: bool = setting(
        False,
        "Gradient checkpointing",
        "Compute intermediate results twice instead of keeping them: much less memory, about a third slower.",
    )
    dataloader_pin_memory: bool = setting(
        False, "Pinned memory", "Keep batches where an NVIDIA GPU can fetch them faster. Costs main memory."
    )
    dataloader_num_workers: int = setting(
        0,
        "Loader processes",
        "Helper processes that prepare batches. 0 is right unless a fast GPU waits for data.",
        ge=0,
        le=64,
        unit="processes",
    )
    remove_unused_columns: bool = setting(
        True,
        "Remove unused columns",
        "Accepted for older files. Only what the model needs is ever handed to it, so this changes nothing.",
    )
    train_sampling_strategy: Literal["random", "sequential", "group_by_length"] = setting(
        "random",
        "Order of records",
        "In which order records are seen: shuffled, as in the file, or with similar lengths together.",
    )
    fp16: bool = setting(
        False,
        "Half precision (fp16)",
        "Ask for 16-bit floats. The machine has the last word: where bf16 works it is used instead, as it "
        "cannot overflow; without either, 32 bits.",
    )
    bf16: bool = setting(
        False,
        "Half precision (bf16)",
        "Ask for bfloat16. A machine without it gets a notice and the nearest it has.",
    )
    neftune_noise_alpha: float | None = setting(
        None,
        "NEFTune noise",
        "Noise on the embeddings in training, against learning by heart; 5 is usual. Without a value: none.",
        gt=0,
        le=100,
        example="5",
        source="NEFTune (Jain et al. 2023)",
    )
    report_to: Literal["none", "tensorboard", "trackio", "wandb", "mlflow"] = setting(
        "none",
        "Also report to",
        "A tracker that gets the figures and the settings too, never a text. tensorboard and trackio write "
        "into the run's folder; wandb and mlflow may send them elsewhere. The package must be installed.",
    )
    seed: int = setting(
        42, "Seed", "The same seed on the same machine gives the same run.", ge=0, le=2**32 - 1
    )
    data_seed: int | None = setting(
        None,
        "Data seed",
        "The seed of the shuffling and of the split into training and evaluation. Without a value: the seed.",
        ge=0,
        le=2**32 - 1,
    )

    @property
    def all_processes(self) -> int:
        """Of all machines together."""
        return self.num_processes * self.num_machines

    @property
    def sharded(self) -> bool:
        """Whether the base model lies in parts in the run's processes."""
        return self.sharding == "full" and self.all_processes > 1

    @field_validator("devices")
    @classmethod
    def _refuse_odd_numbers(cls, value: list[int] | str) -> list[int] | str:
        if isinstance(value, list) and (not value or min(value) < 0 or len(set(value)) < len(value)):
            raise ValueError("the numbers of GPUs count from 0, each once")
        return value
