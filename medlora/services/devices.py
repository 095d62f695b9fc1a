"""The devices that a run may be given: what there is to choose from, and whether a choice can be met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from medlora.config.schema import Config
from medlora.models.hardware import Hardware, cached_hardware, read_cards
from medlora.workspace import Workspace

Status = Literal["ok", "notice", "problem"]


@dataclass(frozen=True)
class Check:
    """One line of the list of what speaks for or against a start: what was looked at, what was found."""

    name: str
    status: Status
    message: str


@dataclass(frozen=True)
class DeviceChoice:
    """What a run can be given. sets: the `key=value` that say so; without any the configuration decides."""

    label: str
    sets: tuple[str, ...]


def list_choices(ws: Workspace) -> list[DeviceChoice]:
    """Every choice where there is more than one GPU, else none; at once, from what is known already."""
    hardware = cached_hardware(ws)
    if hardware is None or hardware.kind != "cuda" or hardware.gpus < 2:
        return []
    choices = [
        DeviceChoice("as the configuration says", ()),
        DeviceChoice(
            f"all {hardware.gpus} GPUs together",
            ("training.devices=all", f"training.num_processes={hardware.gpus}"),
        ),
    ]
    return choices + [
        DeviceChoice(f"GPU {number} alone", (f"training.devices=[{number}]", "training.num_processes=1"))
        for number in range(hardware.gpus)
    ]


def check_devices(config: Config, hardware: Hardware) -> Iterator[Check]:
    """Whether this machine has the devices that a configuration asks for."""
    training, count = config.training, config.training.num_processes
    if hardware.kind == "mps" and count > 1:
        message = f"training.num_processes: an Apple GPU trains in one process (got {count}); write 1"
        yield Check("Devices", "problem", message)
    if hardware.kind == "cuda":
        yield from _check_gpus(config, hardware.gpus)
    elif training.devices != "all":
        message = f"training.devices has no effect: there is no NVIDIA GPU here, only {hardware.name}."
        yield Check("Devices", "notice", message)
    if hardware.kind == "cpu" and count > hardware.cores:
        message = f"{count} processes share {hardware.cores} cores: more processes than cores are slower."
        yield Check("Devices", "notice", message)
    if training.all_processes > 1:
        count = training.all_processes
        rows = training.per_device_train_batch_size * training.gradient_accumulation_steps
        message = f"{count} processes: a step sees {rows * count} rows, {rows} in each."
        yield Check("Devices", "ok", message)


def _check_gpus(config: Config, gpus: int) -> Iterator[Check]:
    training = config.training
    named = training.devices if isinstance(training.devices, list) else list(range(gpus))
    absent = [number for number in named if not 0 <= number < gpus]
    there = "GPU 0" if gpus == 1 else f"GPUs 0 to {gpus - 1}"
    if absent:
        message = f"training.devices: there is no GPU {absent[0]} here (got {named}); there are {there}"
        if gpus == 1:
            message = message.replace("there are", "there is")
        yield Check("Devices", "problem", message)
    elif len(named) < training.num_processes:
        yield Check(
            "Devices",
            "problem",
            f"training.num_processes: each process needs a GPU of its own, and {len(named)} may be used "
            f"(got {training.num_processes}); lower it, or name more in training.devices",
        )


def share_of(hardware: Hardware, config: Config) -> Hardware:
    """The hardware as one process of the run sees it: the fullest of its GPUs, or its share of the memory."""
    count, devices = config.training.num_processes, config.training.devices
    if hardware.kind == "cpu":
        return replace(hardware, total_gib=hardware.total_gib / count, free_gib=hardware.free_gib / count)
    if hardware.kind != "cuda" or (count == 1 and devices == "all"):
        return hardware
    numbers = devices if isinstance(devices, list) else list(range(count))
    cards = dict(enumerate(read_cards()))
    known = [cards[number] for number in numbers[:count] if number in cards]
    if not known:
        return hardware
    fullest = min(known, key=lambda card: float(card["free_gib"]))
    return replace(
        hardware, name=fullest["name"], total_gib=fullest["total_gib"], free_gib=fullest["free_gib"]
    )
