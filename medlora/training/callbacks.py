"""What happens between steps: events, checkpoints, the end that was asked for or earned."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medlora.runs.events import append_event
from medlora.training.checkpoints import MANIFEST, seal
from medlora.training.device import memory_now_gib, memory_peak_gib
from medlora.training.fit import NonFiniteLossError
from medlora.training.ranks import ALONE, Ranks
from medlora.training.stopping import StopWish
from medlora.workspace import RunPaths

SAVE_AT_LEAST_EVERY_S = 300.0
_RECENT_STEPS = 20


def checkpoint_path(args: TrainingArguments, step: int) -> Path:
    """Where the Trainer puts the checkpoint of that step."""
    return Path(str(args.output_dir)) / f"checkpoint-{step}"


class Reporter(TrainerCallback):
    """Writes the run's events: the first step, every logging step and the last one; evaluations.

    Units: tokens are real ones, padding left out; tokens_per_second counts the time inside steps only.
    """

    def __init__(self, run: RunPaths, device: str) -> None:
        self._run = run
        self._device = device
        self._begin_s = 0.0
        self._step_seconds: list[float] = []
        self._tokens_at_start = self._tokens_seen = self._tokens_logged = 0
        self._seconds_logged = 0.0

    @property
    def training_seconds(self) -> float:
        """Time spent inside the steps of this process."""
        return sum(self._step_seconds)

    @property
    def tokens_per_second(self) -> float | None:
        """Over all steps of this process; None before the first."""
        fresh = self._tokens_seen - self._tokens_at_start
        return fresh / self.training_seconds if self._step_seconds else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tokens_at_start = self._tokens_seen = self._tokens_logged = int(state.num_input_tokens_seen)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begin_s = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step_seconds.append(time.perf_counter() - self._begin_s)
        self._tokens_seen = int(state.num_input_tokens_seen)
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        tokens, seconds = int(state.num_input_tokens_seen), self.training_seconds
        fresh, spent = tokens - self._tokens_logged, seconds - self._seconds_logged
        self._tokens_logged, self._seconds_logged = tokens, seconds
        recent = self._step_seconds[-_RECENT_STEPS:]
        append_event(
            self._run,
            "step",
            step=state.global_step,
            total_steps=state.max_steps,
            loss=round(logs["loss"], 6),
            learning_rate=logs.get("learning_rate"),
            grad_norm=logs.get("grad_norm"),
            epoch=state.epoch,
            tokens=tokens,
            tokens_per_second=round(fresh / spent, 1) if spent else None,
            memory_gib=round(memory_now_gib(self._device), 3),
            peak_memory_gib=round(memory_peak_gib(self._device), 3),
            eta_s=round(sum(recent) / len(recent) * (state.max_steps - state.global_step), 1)
            if recent
            else None,
        )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if metrics and "eval_loss" in metrics and state.is_world_process_zero:
            append_event(self._run, "eval", step=state.global_step, eval_loss=round(metrics["eval_loss"], 6))


class Checkpointer(TrainerCallback):
    """A checkpoint at least every five minutes and at every new best; sealed when it is whole."""

    def __init__(
        self, run: RunPaths, keep_best: bool, every_s: float = SAVE_AT_LEAST_EVERY_S, ranks: Ranks = ALONE
    ) -> None:
        self._run = run
        self._ranks = ranks
        self._keep_best = keep_best
        self._every_s = every_s
        self._saved_s = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if any(self._ranks.any(time.monotonic() - self._saved_s >= self._every_s)):
            control.should_save = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Raises: NonFiniteLossError, since a model without a loss is no checkpoint worth keeping."""
        loss = (metrics or {}).get("eval_loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise NonFiniteLossError("evaluation loss", state.global_step)
        if self._keep_best and (state.best_metric is None or loss < state.best_metric):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Why the waiting: each process saves its own state of randomness, and one seals them all."""
        path = checkpoint_path(args, state.global_step)
        self._ranks.wait()
        if self._ranks.first:
            seal(path, state.global_step)
            append_event(self._run, "checkpoint", step=state.global_step, name=path.name)
        self._ranks.wait()
        self._saved_s = time.monotonic()


class EarlyStopping(TrainerCallback):
    """Ends the run when so many evaluations in a row brought no better loss.

    Why from the history: it is part of every checkpoint, so a resumed run counts on where it was.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.stopped = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if losses and len(losses) - 1 - losses.index(min(losses)) >= self._patience:
            self.stopped = True
            control.should_training_stop = control.should_save = control.should_log = True


class LongerSchedule(TrainerCallback):
    """Lets the first step of a run that was made longer use the longer schedule's learning rate.

    Why: the optimizer's state holds the old schedule's, which at its end is 0. In a run that is as long as
    before the two are the same number.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        scheduler = getattr(kwargs["lr_scheduler"], "scheduler", kwargs["lr_scheduler"])
        if state.global_step == 0 or not hasattr(scheduler, "lr_lambdas"):
            return
        groups = kwargs["optimizer"].param_groups
        for group, base, share in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = base * share(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in groups]


class Stopper(TrainerCallback):
    """Stops at the next micro-batch when that was asked for, with a checkpoint of the last whole step."""

    def __init__(self, stop: StopWish, ranks: Ranks = ALONE) -> None:
        self._stop = stop
        self._ranks = ranks
        self._random_states: tuple[Any, ...] | None = None
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._random_states = _random_states()
        if self._asked() and state.global_step < state.max_steps:
            control.should_log = True
            self._end(args, state, control)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Within a step: what was added up for it is dropped, and so is the randomness it used.

        Why the latter: a resumed run draws it again, and ends as if it had never been stopped.
        """
        if self._asked():
            if self._random_states is not None:
                _restore_random_states(self._random_states)
            self._end(args, state, control)

    def _asked(self) -> bool:
        """Whether any of the processes knows of the wish: all stop at the same step."""
        return any(self._ranks.any(self._stop.requested))

    def _end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        self.stopped = True
        control.should_training_stop = True
        control.should_evaluate = False
        saved = (checkpoint_path(args, state.global_step) / MANIFEST).exists()
        control.should_save = state.global_step > 0 and not saved


def _random_states() -> tuple[Any, ...]:
    """Of this process and, where it has a GPU, of that: dropout draws there."""
    on_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), on_gpu


def _restore_random_states(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if states[3] is not None:
        torch.cuda.set_rng_state(states[3])
