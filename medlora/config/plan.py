"""What a configuration comes to once the number of records is known: steps, evaluation, warmup."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medlora.config.schema import Config


@dataclass(frozen=True)
class WarmupPlan:
    """Warmup in steps, and what to tell the user when it is not what was asked for."""

    steps: int
    notice: str | None = None


def evaluates(config: Config) -> bool:
    """Whether records are held out and scored."""
    return config.data.eval_dataset_size > 0


def keeps_best(config: Config) -> bool:
    """Whether the adapter with the lowest evaluation loss is published rather than the last one."""
    asked = config.training.load_best_model_at_end
    return evaluates(config) and asked is not False


def eval_interval(config: Config) -> int:
    """Steps between two evaluations: as set, else at every checkpoint."""
    return config.training.eval_steps or config.training.save_steps


def data_seed(config: Config) -> int:
    """The seed of split and shuffling."""
    training = config.training
    return training.seed if training.data_seed is None else training.data_seed


def count_steps(config: Config, rows_train: int) -> int:
    """Optimizer steps of a run on that many records.

    Source: transformers' Trainer: batches round up, steps per epoch round up, epochs may be fractions.
    """
    training = config.training
    if training.max_steps > 0:
        return training.max_steps
    batches = math.ceil(rows_train / (training.per_device_train_batch_size * training.all_processes))
    per_epoch = max(1, math.ceil(batches / training.gradient_accumulation_steps))
    return max(1, math.ceil(training.num_train_epochs * per_epoch))


def plan_warmup(config: Config, total_steps: int) -> WarmupPlan:
    """Warmup that fits the run: never more than a tenth of it when what was asked for does not fit.

    Why: with a warmup as long as the run, the full learning rate is never reached.
    """
    training = config.training
    asked = training.warmup_steps or math.ceil(training.warmup_ratio * total_steps)
    if asked < total_steps or asked == 0:
        return WarmupPlan(asked)
    if not training.warmup_steps:
        return WarmupPlan(max(0, total_steps - 1))
    steps = total_steps // 10
    return WarmupPlan(
        steps,
        f"training.warmup_steps: {training.warmup_steps} steps of warmup are as long as the run or longer "
        f"({total_steps} steps); shortened to {steps}",
    )
