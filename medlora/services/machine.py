"""What this machine can do, and what would be chosen on it."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass

from medlora import __version__
from medlora.models.files import STARTER, model_at_hand
from medlora.models.hardware import Hardware, report_hardware
from medlora.workspace import Workspace

_GIB = 2**30
_GPU_MODEL = "microsoft/Phi-4-mini-instruct"
_SMALL_GPU_GIB = 7.5
_LITTLE_RAM_GIB = 4.0
_LITTLE_DISK_GIB = 5.0


@dataclass(frozen=True)
class MachineReport:
    """The answer of `doctor`. models: name → whether it is on this machine. advice: whole sentences."""

    version: str
    python: str
    system: str
    home: str
    disk_free_gib: float
    hardware: Hardware
    device: str
    precision: str
    four_bit: bool
    attention: str
    template: str
    models: dict[str, bool]
    advice: tuple[str, ...]


def doctor(ws: Workspace) -> MachineReport:
    """Look at device, memory, packages, models and disk; the first call takes as long as importing torch."""
    hardware = report_hardware(ws)
    free = round(shutil.disk_usage(ws.home).free / _GIB, 1)
    models = {name: model_at_hand(ws, name) for name in (STARTER, _GPU_MODEL)}
    return MachineReport(
        version=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        home=str(ws.home),
        disk_free_gib=free,
        hardware=hardware,
        device=hardware.kind,
        precision=choose_precision(hardware),
        four_bit=hardware.bitsandbytes and hardware.kind == "cuda",
        attention="flash_attention_2" if hardware.flash_attn else "sdpa",
        template=choose_template(hardware),
        models=models,
        advice=tuple(_advise(hardware, free, models)),
    )


def choose_precision(hardware: Hardware) -> str:
    """What the weights are computed in: bf16 where it is supported and fast, else what comes next."""
    if hardware.kind == "cuda":
        return "bfloat16" if hardware.bf16 else "float16"
    return "bfloat16" if hardware.bf16 and hardware.kind == "cpu" else "float32"


def choose_template(hardware: Hardware) -> str:
    """The template to begin with."""
    if hardware.kind != "cuda" or not hardware.bitsandbytes:
        return "starter"
    return "gpu_6gb" if hardware.total_gib < _SMALL_GPU_GIB else "default"


def _advise(hardware: Hardware, disk_free_gib: float, models: dict[str, bool]) -> list[str]:
    advice = []
    if hardware.problem:
        advice.append(f"{hardware.problem}: install the requirements again.")
    if hardware.kind == "cpu" and hardware.gpus == 0:
        advice.append("No GPU is used: the starter model trains in minutes, larger ones in hours or days.")
        if sys.platform == "win32" and (hardware.torch_version or "").endswith("+cpu"):
            advice.append("This torch knows no GPU; with an NVIDIA card, install the CUDA build (README).")
    if hardware.kind == "cuda" and not hardware.bitsandbytes:
        advice.append("bitsandbytes does not load, so 4-bit models are not available.")
    if hardware.kind == "cuda" and not hardware.flash_attn:
        advice.append("flash-attn is not installed; sdpa is used, which is fine (requirements-gpu.txt).")
    if not models[STARTER]:
        advice.append("The starter model is fetched from the package index when it is first needed.")
    if hardware.ram_free_gib < _LITTLE_RAM_GIB:
        advice.append(f"Only {hardware.ram_free_gib:.1f} GiB of memory are free: close other programs.")
    if disk_free_gib < _LITTLE_DISK_GIB:
        advice.append(f"Only {disk_free_gib:.1f} GiB of disk are free: make room, or set MEDLORA_HOME.")
    return advice
