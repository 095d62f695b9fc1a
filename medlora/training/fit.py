"""The training loop: transformers' Trainer with our loss, our evaluation and our order of records."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from peft import PeftModel
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from medlora.training.collate import count_tokens
from medlora.training.kernels import EAGER, Kernels
from medlora.training.loss import IGNORED, label_loss, stock_loss
from medlora.training.ranks import ALONE, Ranks

# Of fp16's loss, which begins at 65536 and is halved at each step left out: a run of 24 of them.
_SMALLEST_SCALE = 2.0**-7


class NonFiniteLossError(Exception):
    """The loss or its gradient is no number any more: going on would spoil the adapter."""

    def __init__(self, what: str, step: int) -> None:
        self.what = what
        self.step = step
        super().__init__(f"the {what} became infinite or not a number at step {step}")


class LabelTrainer(Trainer):
    """Trainer whose losses are means over label tokens, whatever the batch size or accumulation."""

    # Our loss is already divided by the labels of the whole accumulated batch.
    loss_is_scaled_for_ga = True
    kernels: Kernels = EAGER
    ranks: Ranks = ALONE
    eval_order: Sampler[int] | None = None

    def __init__(
        self,
        *,
        label_only: bool,
        order: Sampler[int] | None = None,
        stop: Callable[[], bool],
        **settings: Any,
    ) -> None:
        """label_only: logits at label positions only. stop: whether an evaluation should be cut short."""
        self._label_only = label_only
        self._order = order
        self._stop = stop
        super().__init__(**settings)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        loss = self._mean_loss(model, inputs, num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, {"loss": loss}) if return_outputs else loss

    def _mean_loss(
        self, model: nn.Module, inputs: dict[str, Any], labels_in_step: torch.Tensor | int | None
    ) -> torch.Tensor:
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        targets = inputs.pop("shift_labels")
        denominator = None if labels_in_step is None else float(labels_in_step)
        if not self._label_only:
            return stock_loss(model(**inputs, use_cache=False).logits, targets, denominator)
        base = self._base_model(model)
        hidden = run_decoder(model, base, inputs)
        return label_loss(hidden, base.get_output_embeddings().weight, targets, denominator, self.kernels)

    def _base_model(self, model: nn.Module) -> Any:
        unwrapped = self.accelerator.unwrap_model(model)
        return unwrapped.get_base_model() if isinstance(unwrapped, PeftModel) else unwrapped

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One micro-batch; the loss is looked at before it is averaged away.

        Raises: NonFiniteLossError.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise NonFiniteLossError("loss", self.state.global_step + 1)
        self.state.num_input_tokens_seen += int(self.ranks.total(count_tokens(inputs)))
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Why here: the gradients are there and the weights have not moved.

        fp16's scaler leaves such a step out and scales less; below a scale that small it would never end.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        scaler = self.accelerator.scaler
        hopeless = scaler is None or scaler.get_scale() < _SMALLEST_SCALE
        if hopeless and not math.isfinite(float(norm)):
            raise NonFiniteLossError("gradient", self.state.global_step + 1)
        return norm

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The mean loss over all label tokens; without a value when a stop cut it short.

        Why: a mean of batch means moves with the batch size, since records differ in length.
        """
        model = self.model
        model.eval()
        total, labels = torch.zeros(2, dtype=torch.float64), 0
        metrics: dict[str, float] = {}
        for batch in dataloader:
            if any(self.ranks.any(self._stop())):
                break
            batch = self._prepare_inputs(batch)
            count = int((batch["shift_labels"] != IGNORED).sum())
            with torch.no_grad(), self.compute_loss_context_manager():
                mean = self._mean_loss(model, batch, None)
            total += torch.tensor([float(mean) * count, count], dtype=torch.float64)
        else:
            summed = self.accelerator.reduce(total.to(self.args.device, _sum_dtype(self.args.device)))
            metrics[f"{metric_key_prefix}_loss"] = float(summed[0] / summed[1])
            labels = int(summed[1])
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=labels)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return "eval_loss" in metrics and super()._determine_best_metric(metrics, trial)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._order if self._order is not None else super()._get_train_sampler(train_dataset)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return self.eval_order or super()._get_eval_sampler(eval_dataset)

    def _get_dataloader(
        self, dataset: Any, description: str, batch_size: int, sampler_fn: Any = None, **settings: Any
    ) -> DataLoader[Any]:
        """Why ours with several processes: the stock one repeats records to fill up the last batch."""
        if self.ranks.alone:
            return super()._get_dataloader(dataset, description, batch_size, sampler_fn, **settings)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler_fn(dataset),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The adapter and nothing else.

        Why: the stock method pickles the arguments beside it, and PEFT would look the base model up on a hub
        to see whether its vocabulary grew, which never happens here.
        """
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(
            folder, state_dict=state_dict, save_embedding_layers=False, is_main_process=self.ranks.first
        )


def run_decoder(model: nn.Module, base: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The last hidden states, by calling the whole (wrapped) model with its head applied to no row.

    Why: calling the wrapped model keeps accelerate's and DDP's hooks; the head on zero rows costs nothing.
    Shapes: result (batch, tokens, width).
    """
    seen: list[torch.Tensor] = []
    decoder = base.get_decoder()
    handle = decoder.register_forward_hook(lambda module, args, out: seen.append(out.last_hidden_state))
    try:
        none = torch.zeros(0, dtype=torch.long, device=inputs["input_ids"].device)
        model(**inputs, use_cache=False, logits_to_keep=none)
    finally:
        handle.remove()
    return seen[0]


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
