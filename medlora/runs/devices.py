"""Which GPUs a run owns. Runs on different ones go at the same time; whatever owns `main` goes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAIN = "main"
"""The whole machine: its CPU, or all of its GPUs."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
OFFERED = "MEDLORA_GPUS"
"""What the app itself may see, handed on to workers: they start the next run, perhaps on other GPUs."""
_ALL = "all"


def choose_device(training: Mapping[str, Any], *, has_gpus: bool) -> str:
    """What a run with these settings owns: `main`, or the numbers of its GPUs as in `0,2`."""
    devices = training.get("devices", "all")
    if not has_gpus or not isinstance(devices, list):
        return MAIN
    return ",".join(str(number) for number in devices[: training.get("num_processes", 1)])


def in_each_others_way(one: str, other: str) -> bool:
    """Whether two runs cannot go at the same time."""
    return MAIN in (one, other) or bool(set(one.split(",")) & set(other.split(",")))


def gpu_environment(training: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker's environment says of GPUs: its own ones, and those that the next run may have."""
    offered = environ.get(OFFERED, environ.get(VISIBLE, _ALL))
    return {VISIBLE: visible_gpus(training, offered), OFFERED: offered}


def visible_gpus(training: Mapping[str, Any], offered: str = _ALL) -> str:
    """The GPUs that the run's processes may see, one for each, in the words of CUDA_VISIBLE_DEVICES.

    Why also for one process: a library that sees more than one GPU would spread the model over them.
    The numbers count what is offered: the app's own CUDA_VISIBLE_DEVICES, or `all`.
    """
    count = training.get("num_processes", 1)
    devices = training.get("devices", "all")
    numbers = devices if isinstance(devices, list) else range(count)
    if offered == _ALL:
        return ",".join(str(number) for number in numbers[:count])
    names = [name.strip() for name in offered.split(",") if name.strip()]
    return ",".join(names[number] for number in numbers[:count] if number < len(names))
