"""From a configuration and what was planned to the Trainer's own arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil
from transformers import TrainingArguments

from medlora.config.plan import data_seed, eval_interval, evaluates, keeps_best, plan_warmup
from medlora.config.schema import Config
from medlora.models.architecture import ArchitectureFacts
from medlora.training.device import Setup

# One portion may use this share of the memory that is free. More tokens than this are no faster.
_PORTION_SHARE = 0.25
_PORTION_TOKENS = 2048


def cut_batches(config: Config, facts: ArchitectureFacts, lengths: Sequence[int]) -> tuple[int, int]:
    """(micro-batch, accumulation) with the config's product, in as few portions as are fast and fit.

    Why: on a CPU a large matrix product is faster than several small ones, and the result is the same.
    The longest records that could meet in one portion decide; one record is the least.
    """
    effective = config.training.per_device_train_batch_size * config.training.gradient_accumulation_steps
    most = float(_PORTION_TOKENS)
    if not config.training.gradient_checkpointing:
        free = psutil.virtual_memory().available
        most = min(most, free * _PORTION_SHARE / activation_bytes(facts))
    longest = sorted(lengths, reverse=True)
    for portion in range(effective, 1, -1):
        if effective % portion == 0 and sum(longest[:portion]) <= most:
            return portion, effective // portion
    return 1, effective


def activation_bytes(facts: ArchitectureFacts) -> int:
    """Rough memory that one token takes between forward and backward pass, four bytes a number.

    Why these counts: per layer about 16 vectors of the model's width (norms, projections, residuals) and
    6 of the inner width are kept for the backward pass.
    """
    return 4 * facts.layers * (16 * facts.hidden_size + 6 * facts.intermediate_size)


def training_arguments(
    config: Config, setup: Setup, checkpoints: Path, total_steps: int, has_eval: bool
) -> TrainingArguments:
    """The arguments for one run.

    Why two checkpoints at least, three with a best one: while one is being written another must be whole,
    and the best one is not always among the last.
    """
    training = config.training
    best = has_eval and keeps_best(config)
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=setup.micro_batch or training.per_device_train_batch_size,
        gradient_accumulation_steps=setup.accumulation or training.gradient_accumulation_steps,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=plan_warmup(config, total_steps).steps,
        optim=setup.optimizer,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=setup.autocast == "bf16",
        fp16=setup.autocast == "fp16",
        use_cpu=setup.device == "cpu",
        seed=training.seed,
        data_seed=data_seed(config),
        logging_strategy="steps",
        logging_steps=training.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_eval and evaluates(config) else "no",
        eval_steps=eval_interval(config),
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=training.save_steps,
        save_total_limit=max(2, training.save_total_limit) + (1 if best else 0),
        metric_for_best_model="eval_loss" if best else None,
        greater_is_better=False if best else None,
        dataloader_num_workers=training.dataloader_num_workers,
        dataloader_pin_memory=training.dataloader_pin_memory and setup.device == "cuda",
        remove_unused_columns=False,
        report_to="none",
        log_level="error",
        disable_tqdm=True,
    )
