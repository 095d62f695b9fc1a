"""Ask torch what it would use, once: `python -m medlora.jobs.hardware` prints one JSON line."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

_GIB = 2**30


def describe() -> dict[str, Any]:
    """The fields of `Hardware` that only torch knows."""
    facts: dict[str, Any] = {
        "torch_version": str(torch.__version__),
        "bitsandbytes": can_import("bitsandbytes"),
        "flash_attn": False,
    }
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return facts | {
            "kind": "cuda",
            "name": torch.cuda.get_device_name(0),
            "total_gib": round(total / _GIB, 2),
            "free_gib": round(free / _GIB, 2),
            "bf16": bf16,
            "flash_attn": bf16 and can_import("flash_attn"),  # both from Ampere on
            "gpus": torch.cuda.device_count(),
        }
    if torch.backends.mps.is_available():
        limit = round(torch.mps.recommended_max_memory() / _GIB, 2)
        name = platform.processor() or "Apple GPU"
        return facts | {
            "kind": "mps",
            "name": name,
            "total_gib": limit,
            "free_gib": limit,
            "bf16": True,
            "gpus": 1,
        }
    speedup = measure_bf16_speedup()
    return facts | {"kind": "cpu", "name": read_cpu_name(), "bf16": speedup > 1.1, "bf16_speedup": speedup}


def can_import(package: str) -> bool:
    """Whether the package is there and its native part loads."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except Exception:  # noqa: BLE001 - a native library may fail in any way; then it is not usable
        return False
    return True


def measure_bf16_speedup() -> float:
    """How many times faster a small forward and backward runs in bf16 than in fp32, on one thread.

    Why: bf16 flies where the CPU multiplies it natively and crawls where it is emulated; no flag of
    the CPU tells the two apart as well as half a second of work.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seconds = {dtype: _time_training_step(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return round(seconds[torch.float32] / seconds[torch.bfloat16], 2)


def _time_training_step(dtype: torch.dtype) -> float:
    width = 512
    layers = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)).to(dtype)
    inputs = torch.randn(128, width, dtype=dtype, requires_grad=True)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        layers(inputs).square().mean().backward()
        best = min(best, time.perf_counter() - began)
        if best > 2:
            break
    return best


def read_cpu_name() -> str:
    """The CPU as its maker calls it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(json.dumps(describe()))  # noqa: T201 - the answer itself
