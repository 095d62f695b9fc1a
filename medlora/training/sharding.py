"""A base model in parts: each process keeps its share of the weights and fetches a layer when it computes it.

Only the frozen base is shared out (FSDP 2). The adapter is small and stays whole in every process, which add
up its gradients, so adapters and checkpoints are the same files as without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import TrainingArguments
from transformers.distributed import DistributedConfig

from medlora.errors import UserError
from medlora.training.ranks import Ranks


def sharded_loading(ranks: Ranks, device: str) -> dict[str, Any]:
    """What `from_pretrained` is told, so that each process reads its share of the weights and nothing else.

    Raises: UserError where the library would put the shares on a device other than the run's.
    """
    found = torch.accelerator.current_accelerator()
    kind = found.type if found is not None else "cpu"
    if kind != device:
        raise UserError(
            f"training.sharding: full would use {kind}, and this run is kept on {device}; write none, "
            "or do not set MEDLORA_DEVICE"
        )
    return {"distributed_config": DistributedConfig(fsdp_size=ranks.world)}


def is_sharded(model: nn.Module) -> bool:
    """Whether a part of the model's weights lies in other processes."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def count_held(model: nn.Module) -> int:
    """How many of the model's parameters lie in this process between two steps."""
    parts = (p.to_local() if isinstance(p, DTensor) else p for p in model.parameters())
    return sum(part.numel() for part in parts)


class WholeCheckpoints:
    """Lets the Trainer be made with a model in parts and full checkpoints.

    Why: it refuses them since it cannot save an optimizer in parts. Ours is over the adapter alone, which
    is whole in every process. Source: transformers 5.24, Trainer.__init__.
    """

    def __init__(self, model: nn.Module, arguments: TrainingArguments) -> None:
        self._arguments = arguments
        self._sharded = is_sharded(model)

    def __enter__(self) -> None:
        if self._sharded:
            self._arguments.save_only_model = True

    def __exit__(self, *error: object) -> None:
        if self._sharded:
            self._arguments.save_only_model = False
