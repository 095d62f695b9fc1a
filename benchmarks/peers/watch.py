"""A callback for any peer that stands on transformers' Trainer: times, losses and the rows it really saw."""

from __future__ import annotations

import time
from importlib import metadata
from typing import Any

import torch
from job import mark
from transformers import TrainerCallback


def _gpu_peak_gib() -> float | None:
    """The most that torch held of a GPU; None where no GPU was used."""
    if not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_reserved() / 2**30)


class Watch(TrainerCallback):
    """Notes the moment and the loss of every logged step, and every row that the model is given.

    Why the rows are read at the model's door: whatever a peer does to its data, this is what it learns from.
    """

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.cpu_s: list[float] = []
        self.losses: list[float] = []
        self.marks: list[str] = []
        self.dtypes: list[str] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.dtypes = sorted({str(weight.dtype).removeprefix("torch.") for weight in model.parameters()})
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if logs and "loss" in logs:
            self.times_s.append(time.time())
            self.cpu_s.append(time.process_time())
            self.losses.append(round(float(logs["loss"]), 5))

    def _see(self, module: Any, args: Any, inputs: dict[str, Any]) -> None:
        if "labels" not in inputs:
            return
        real = inputs["attention_mask"].bool()
        for ids, labels, keep in zip(inputs["input_ids"], inputs["labels"], real, strict=True):
            self.marks.append(mark(ids[keep].tolist(), labels[keep].tolist()))

    def report(self, *packages: str, **settings: Any) -> dict[str, Any]:
        """What is answered; `settings` say how the peer was set up."""
        names = ("torch", "transformers", "peft", *packages)
        return {
            "times_s": self.times_s,
            "cpu_s": self.cpu_s,
            "losses": self.losses,
            "gpu_gib": _gpu_peak_gib(),
            "marks": self.marks,
            "settings": {"weights": self.dtypes, **settings},
            "versions": {name: metadata.version(name) for name in names},
        }
