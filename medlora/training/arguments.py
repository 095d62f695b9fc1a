"""From a configuration and what was planned to the Trainer's own arguments."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainingArguments

from medlora.config.plan import data_seed, eval_interval, evaluates, keeps_best, plan_warmup
from medlora.config.schema import Config
from medlora.training.device import Setup
from medlora.training.ranks import avoid_missing_links


def training_arguments(
    config: Config, setup: Setup, checkpoints: Path, total_steps: int, has_eval: bool
) -> TrainingArguments:
    """The arguments for one run.

    Why two checkpoints at least, three with a best one: while one is being written another must be whole,
    and the best one is not always among the last.
    """
    training = config.training
    if setup.device == "cuda":
        avoid_missing_links()
    best = has_eval and keeps_best(config)
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=setup.micro_batch or training.per_device_train_batch_size,
        gradient_accumulation_steps=setup.accumulation or training.gradient_accumulation_steps,
        per_device_eval_batch_size=min(
            training.per_device_eval_batch_size, setup.eval_batch or training.per_device_eval_batch_size
        ),
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
        report_to=training.report_to,
        neftune_noise_alpha=training.neftune_noise_alpha,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        log_level="error",
        disable_tqdm=True,
    )
