"""The processes that train one run together, each on its own GPU or its own share of the cores.

Every process holds the whole model, computes its part of a step's rows, and adds its gradients to those of
the others. So all must do the same things in the same order: what one alone cannot know (a wish to stop, a
checkpoint that is due) they agree on, and what is a choice (threads, precision) the first one makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

GROUP_FILE = "MEDLORA_GROUP_FILE"
# Whoever waits for a download or for a compiler waits long; a process that died is noticed by its launcher.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run. local: its number on this machine, which is also its GPU's."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes: events, checkpoints, the adapter."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, true as soon as it is true in one of the processes; all must ask."""
        return flags if self.alone else tuple(value > 0 for value in self._reduce(flags, dist.ReduceOp.MAX))

    def total(self, number: float) -> float:
        """The sum over all processes; all must ask."""
        return number if self.alone else self._reduce((number,), dist.ReduceOp.SUM)[0]

    def decide(self, choose: Callable[[], Any]) -> Any:
        """What the first process chooses, in all of them."""
        if self.alone:
            return choose()
        chosen = [choose() if self.first else None]
        dist.broadcast_object_list(chosen, src=0, device=torch.device("cpu"))
        return chosen[0]

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.total(0)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process do something alone, then the others, which find it done."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def _reduce(self, numbers: tuple[float, ...], how: Any) -> list[float]:
        """Why on the CPU: a GPU would have to finish its step before it could answer."""
        values = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
        dist.all_reduce(values, op=how)
        summed: list[float] = values.tolist()
        return summed


ALONE = Ranks()


def join_ranks(device: str) -> Ranks:
    """Meet the other processes of the run.

    Why through a file on one machine: a port for it would be open to the whole network, without a password.
    Source: torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; accelerate takes over a group that is there.
    """
    rank, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if world == 1:
        return ALONE
    settings: dict[str, Any] = {"timeout": _PATIENCE, "rank": rank, "world_size": world}
    path = os.environ.get(GROUP_FILE)
    if path:
        settings["store"] = FileStore(path, world)
    if device == "cuda":
        torch.cuda.set_device(local)
        avoid_missing_links()
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", **settings)
    return Ranks(rank, world, local)


def leave_ranks(ranks: Ranks) -> None:
    """Part from the others; what follows the first process does alone."""
    if not ranks.alone:
        ranks.wait()
        dist.destroy_process_group()


def avoid_missing_links() -> None:
    """Cards of the RTX 4000 series cannot talk to each other directly; accelerate refuses them until told.

    It refuses them also where a run uses one of several, since it counts those of the machine.
    """
    from accelerate.utils import check_cuda_p2p_ib_support

    if not check_cuda_p2p_ib_support():
        os.environ.setdefault("NCCL_P2P_DISABLE", "1")
        os.environ.setdefault("NCCL_IB_DISABLE", "1")
