"""The Trainer of one run, put together from our parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, TrainerCallback

from medlora.config.plan import count_steps, data_seed
from medlora.config.schema import Config
from medlora.training.arguments import training_arguments
from medlora.training.collate import PaddedCollator, blank_row, flat_collator
from medlora.training.device import Setup
from medlora.training.examples import Examples
from medlora.training.fit import LabelTrainer
from medlora.training.order import EpochOrder, Part
from medlora.training.ranks import Ranks
from medlora.training.sharding import WholeCheckpoints

if TYPE_CHECKING:
    from medlora.training.session import Session


def build_trainer(
    session: Session, model: Any, setup: Setup, examples: Examples, callbacks: list[TrainerCallback]
) -> LabelTrainer:
    """The Trainer for this run, with our parts plugged in."""
    config = session.config
    total = count_steps(config, len(examples.train))
    arguments = training_arguments(config, setup, session.checkpoints, total, bool(examples.evaluation))
    flat = flat_collator(setup.attention, setup.device)
    collator = flat if setup.flat else PaddedCollator(_pad_id(model))
    ranks, batch = session.ranks, arguments.per_device_train_batch_size
    group = batch * arguments.gradient_accumulation_steps * ranks.world
    part = None if ranks.alone else Part(ranks.rank, ranks.world, batch)
    strategy = config.training.train_sampling_strategy
    blank = [] if ranks.alone else [blank_row(examples.train[0])]
    with WholeCheckpoints(model, arguments):
        trainer = LabelTrainer(
            label_only=setup.label_only,
            order=EpochOrder(examples.lengths, strategy, data_seed(config), group, part),
            stop=lambda: session.stop.requested,
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=examples.train + blank,
            eval_dataset=examples.evaluation + blank if examples.evaluation else None,
            callbacks=callbacks,
        )
    trainer.ranks = ranks
    if part is not None:
        scored = replace(part, batch=arguments.per_device_eval_batch_size)
        trainer.eval_order = EpochOrder([0] * len(examples.evaluation), "sequential", 0, 1, scored)
    trainer.remove_callback(PrinterCallback)
    return trainer


def draw_apart(ranks: Ranks, config: Config) -> None:
    """Let each process draw other random numbers: with the same ones all would drop the same units."""
    if ranks.rank:
        torch.manual_seed(config.training.seed + 1_000_003 * ranks.rank)


def _pad_id(model: Any) -> int:
    """Any token will do: padded positions are masked and never a label."""
    found = model.config.pad_token_id
    return found if isinstance(found, int) and found >= 0 else 0
