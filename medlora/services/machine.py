"""What this machine can do, and what medlora would choose on it."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass

from medlora import __version__
from medlora.models.files import STARTER, find_model
from medlora.models.hardware import Hardware, report_hardware
from medlora.workspace import Workspace

_GIB = 2**30
_LARGE = "microsoft/Phi-4-mini-instruct"


@dataclass(frozen=True)
class Doctor:
    """The machine, and the choices that follow. Units: GiB."""

    version: str
    python: str
    system: str
    home: str
    disk_free_gib: float
    hardware: Hardware
    precision: str
    four_bit: bool
    attention: str
    template: str
    models: dict[str, bool]
    advice: tuple[str, ...]


def doctor(ws: Workspace) -> Doctor:
    """Ask the hardware (the first time as long as importing torch takes) and say what follows."""
    hardware = report_hardware(ws)
    on_gpu = hardware.kind == "cuda"
    return Doctor(
        version=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        home=str(ws.home),
        disk_free_gib=round(shutil.disk_usage(ws.home).free / _GIB, 1),
        hardware=hardware,
        precision=_precision(hardware),
        four_bit=hardware.bitsandbytes and on_gpu,
        attention="flash_attention_2" if on_gpu and hardware.flash_attn else "sdpa",
        template="default" if on_gpu else "starter",
        models={name: find_model(ws, name) is not None for name in (STARTER, _LARGE)},
        advice=tuple(_advice(hardware)),
    )


def _precision(hardware: Hardware) -> str:
    if hardware.kind == "cuda":
        return "bfloat16" if hardware.bf16 else "float16"
    if hardware.kind == "mps":
        return "float32"
    return "bfloat16" if hardware.bf16 else "float32"


def _advice(hardware: Hardware) -> list[str]:
    advice = []
    if hardware.problem:
        advice.append(f"The hardware could not be asked: {hardware.problem}")
    if (
        hardware.kind == "cpu"
        and platform.system() == "Windows"
        and "+cu" not in (hardware.torch_version or "")
    ):
        advice.append(
            "On Windows the package index carries only the CPU build of torch; with an NVIDIA card install "
            "the CUDA build first, then requirements.txt"
        )
    if hardware.kind == "cpu":
        advice.append("Without a GPU use the starter template; the default one needs an NVIDIA GPU")
    if hardware.kind == "cuda" and not hardware.flash_attn:
        advice.append("flash-attention is not installed; requirements-gpu.txt says how (optional)")
    return advice
