"""What is done about memory: one step on the longest rows before the run, and less at a time after a failure.

Why a fresh process: what an allocator holds after it failed is not to be counted on, and on a GPU other
libraries may be left half done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil
import torch

from medlora.config.memory import GIB, Device, forecast
from medlora.config.schema import Config
from medlora.models.architecture import ArchitectureFacts
from medlora.training.collate import Example
from medlora.training.device import Setup, memory_peak_gib

if TYPE_CHECKING:
    from medlora.training.fit import LabelTrainer

_NEAR = 0.4


@dataclass(frozen=True)
class TrialStep:
    """What the longest rows took: tokens in the portion, seconds, and the process's peak in GiB."""

    tokens: int
    seconds: float
    peak_memory_gib: float


def try_longest(trainer: LabelTrainer, rows: Sequence[Example], setup: Setup) -> TrialStep:
    """One forward and backward pass over the longest rows that could meet; nothing is learned from it.

    Why: a run that will not fit should fail now, not at the step where the longest rows happen to meet.
    No randomness is used up, so the run that follows is the same as without it.
    """
    begin = time.perf_counter()
    portion = trainer.args.per_device_train_batch_size
    longest = sorted(rows, key=lambda row: len(row["input_ids"]), reverse=True)[:portion]
    batch = trainer._prepare_inputs(trainer.data_collator(longest))
    cards = range(torch.cuda.device_count()) if setup.device == "cuda" else ()
    model = trainer.model
    with torch.random.fork_rng(devices=cards):
        model.train()
        # The loop has its precision from accelerate, which wraps the model only when the training begins.
        with trainer.accelerator.autocast():
            loss = trainer.compute_loss(model, batch)
        loss.backward()
        float(loss.detach())  # waits for a GPU
        model.zero_grad(set_to_none=True)
    tokens = sum(len(row["input_ids"]) for row in longest)
    return TrialStep(tokens, time.perf_counter() - begin, memory_peak_gib(setup.device))


def portions(setup: Setup, config: Config) -> tuple[int, int]:
    """(rows at a time, portions in a step) of a run."""
    training = config.training
    return (
        setup.micro_batch or training.per_device_train_batch_size,
        setup.accumulation or training.gradient_accumulation_steps,
    )


def halve_portion(setup: Setup, config: Config) -> Setup | None:
    """The same effective batch in portions of at most half the rows; None when one row is the portion.

    An evaluation takes no more rows at a time either: its loss does not depend on that.
    """
    batch, accumulation = portions(setup, config)
    effective = batch * accumulation
    smaller = next((size for size in range(batch // 2, 0, -1) if effective % size == 0), None)
    if smaller is None:
        return None
    return replace(setup, micro_batch=smaller, accumulation=effective // smaller, eval_batch=smaller)


def advise(config: Config, device: str, *, loaded: bool) -> str:
    """What is left to try once a single row does not fit, the mildest change first.

    loaded: whether the base model itself fitted.
    """
    advice = []
    if loaded and not config.training.gradient_checkpointing:
        advice.append("turn on training.gradient_checkpointing (about a third slower)")
    if loaded:
        advice.append(f"lower data.max_seq_length (now {config.data.max_seq_length})")
    if not config.model.quantization_config.load_in_4bit and device != "mps":
        advice.append("load the base model in 4 bits (model.quantization_config.load_in_4bit)")
    advice.append("close other programs, or choose a smaller base model")
    listed = "; ".join(advice)
    return f"{listed[:1].upper()}{listed[1:]}. Fit to this device in the Configure tab works out how much."


def trial_is_due(setup: Setup, config: Config, facts: ArchitectureFacts, longest: int) -> bool:
    """Whether the run is near enough to what is free: always on a GPU, seldom on a CPU.

    Why not always: on a CPU the step may take half a minute, and far from the limit it tells nothing.
    """
    if setup.device != "cpu":
        return True
    batch, _ = portions(setup, config)
    free = psutil.virtual_memory().available / GIB
    machine = Device("cpu", free_gib=free, bf16=setup.dtype == "bfloat16", four_bit=setup.four_bit)
    training = config.training.model_copy(update={"per_device_train_batch_size": batch})
    asked = config.model_copy(update={"training": training})
    return forecast(asked, facts, machine, longest=longest).total_gib > _NEAR * free
