"""What this machine computes best with, chosen once per run and kept with it.

Why kept: a resumed run must end with the same bits as one never interrupted, and thread count and
precision change the bits. `setup.json` in the run's folder holds what the first start chose.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from medlora.config.schema import Config
from medlora.workspace import write_json

# One round multiplies about as much as 512 rows of the starter model's layer, whatever the model.
_PROBE_WORK = 512 * 576 * 1536
_PROBE_ROUNDS = 3
_SMALLEST_WIDTH = 256
_WORTH_BFLOAT16 = 1.3
_WORTH_A_THREAD = 1.15
_CUDA_OPTIMIZERS = frozenset({"adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"})


@dataclass(frozen=True)
class Setup:
    """Device, precision and kernels of one run.

    dtype: of the base model's weights and of the products; the adapter's own weights are float32.
    threads: of the CPU; None leaves torch's choice. eval_batch: rows at a time once memory ran short.
    """

    device: str
    dtype: str
    attention: str
    optimizer: str
    four_bit: bool = False
    threads: int | None = None
    micro_batch: int | None = None
    accumulation: int | None = None
    eval_batch: int | None = None
    flat: bool = False
    label_only: bool = False
    compiled: bool = False
    notices: tuple[str, ...] = ()

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def autocast(self) -> str | None:
        """The mixed precision of the loop: products in 16 bits, the adapter's own weights in 32."""
        return {"bfloat16": "bf16", "float16": "fp16"}.get(self.dtype)

    @property
    def precision(self) -> str:
        """For people: what the numbers are kept in."""
        return f"4-bit, {self.dtype}" if self.four_bit else self.dtype


@dataclass(frozen=True)
class ProbeResult:
    """The fastest of the settings that were tried."""

    threads: int
    dtype: str
    seconds: dict[str, float]


def choose_setup(config: Config, hidden: int, inner: int) -> Setup:
    """What to compute with, from the wishes in the config and what the machine has.

    hidden, inner: the widths of the model's layers, so that the probe multiplies matrices of its size.
    """
    notices: list[str] = []
    device = pick_device()
    threads = None
    if device == "cpu":
        probe = probe_cpu(hidden, inner)
        threads, dtype = probe.threads, probe.dtype
    else:
        dtype = _accelerator_dtype(device)
    notices += _precision_notices(config, device, dtype)
    return Setup(
        device=device,
        dtype=dtype,
        attention=_attention(config, device, dtype, notices),
        optimizer=_optimizer(config, device, notices),
        four_bit=_four_bit(config, device, notices),
        threads=threads,
        notices=tuple(notices),
    )


def pick_device() -> str:
    """cuda, mps or cpu; MEDLORA_DEVICE=cpu keeps a run off the accelerator."""
    if os.environ.get("MEDLORA_DEVICE") == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_setup(path: Path) -> Setup | None:
    """What the first start of a run chose, or None before it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Setup(**{**values, "notices": tuple(values["notices"])})


def save_setup(path: Path, setup: Setup) -> None:
    """Keep the choice for resume and reproduce."""
    write_json(path, asdict(setup))


def apply_threads(setup: Setup) -> None:
    """Use the chosen number of CPU threads in this process."""
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)


def probe_cpu(hidden: int, inner: int) -> ProbeResult:
    """The fastest thread count and precision, by a short forward and backward pass of one layer's matrices.

    Why a probe: with AMX bfloat16 is far faster than float32, without it thirty times slower; and two
    threads on a busy machine can be slower than one. A gain too small to tell from noise is not taken.
    """
    if hidden < _SMALLEST_WIDTH:
        return ProbeResult(1, "float32", {})
    seconds: dict[tuple[int, str], float] = {}
    before = torch.get_num_threads()
    try:
        for threads in sorted({1, max(1, usable_cores() // 2), usable_cores()}):
            torch.set_num_threads(threads)
            seconds[threads, "float32"] = _time_layer(hidden, inner, torch.float32, float("inf"))
            limit_s = seconds[threads, "float32"]
            seconds[threads, "bfloat16"] = _time_layer(hidden, inner, torch.bfloat16, limit_s)
    finally:
        torch.set_num_threads(before)
    shown = {f"{count} threads, {dtype}": round(spent, 5) for (count, dtype), spent in seconds.items()}
    chosen = 1
    for threads in sorted({count for count, _ in seconds}):
        if min(_of(seconds, threads)) * _WORTH_A_THREAD < min(_of(seconds, chosen)):
            chosen = threads
    plain, short = _of(seconds, chosen)
    return ProbeResult(chosen, "bfloat16" if short * _WORTH_BFLOAT16 < plain else "float32", shown)


def usable_cores() -> int:
    """Physical cores this process may use; OMP_NUM_THREADS lowers it."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, allowed, int(wished) if wished.isdigit() else cores))


def _of(seconds: dict[tuple[int, str], float], threads: int) -> tuple[float, float]:
    return seconds[threads, "float32"], seconds[threads, "bfloat16"]


def _time_layer(hidden: int, inner: int, dtype: torch.dtype, give_up_s: float) -> float:
    """Best time of a forward and backward pass through two matrices; one round if it is hopeless."""
    count = min(512, max(16, _PROBE_WORK // (hidden * inner)))
    up, down, rows = (
        torch.linspace(-0.5, 0.5, a * b).reshape(a, b).to(dtype)
        for a, b in ((inner, hidden), (hidden, inner), (count, hidden))
    )
    rows.requires_grad_()
    best = float("inf")
    for round_number in range(_PROBE_ROUNDS + 1):
        begin = time.perf_counter()
        out = torch.nn.functional.silu(rows @ up.t()) @ down.t()
        torch.autograd.grad(out, rows, torch.ones_like(out))
        spent = time.perf_counter() - begin
        if round_number:  # the first round pays for warming up
            best = min(best, spent)
        elif spent > 5 * give_up_s:
            return spent
    return best


def _accelerator_dtype(device: str) -> str:
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "float32"


def _precision_notices(config: Config, device: str, dtype: str) -> list[str]:
    asked = {"float16": config.training.fp16, "bfloat16": config.training.bf16}
    return [
        f"training.{'fp16' if name == 'float16' else 'bf16'}: this machine ({device}) computes best in "
        f"{dtype}; it is used instead"
        for name, wanted in asked.items()
        if wanted and name != dtype
    ]


def _attention(config: Config, device: str, dtype: str, notices: list[str]) -> str:
    """Why by the precision: FlashAttention 2 runs from Ampere on, as bfloat16 does."""
    asked = config.model.attn_implementation
    if asked != "flash_attention_2":
        return asked
    installed = importlib.util.find_spec("flash_attn") is not None
    if device == "cuda" and dtype == "bfloat16" and installed:
        return asked
    lacking = "this GPU is too old for it" if installed else "its package is not installed"
    lacking = lacking if device == "cuda" else f"it needs an NVIDIA GPU, not {device}"
    notices.append(
        f"model.attn_implementation: flash_attention_2 is not used ({lacking}); sdpa takes its place"
    )
    return "sdpa"


def _optimizer(config: Config, device: str, notices: list[str]) -> str:
    asked = config.training.optim
    if asked not in _CUDA_OPTIMIZERS:
        return asked
    if device != "cuda":
        lacking = f"an NVIDIA GPU, not {device}"
    elif importlib.util.find_spec("bitsandbytes") is None:
        lacking = "bitsandbytes, which is not installed"
    else:
        return asked
    notices.append(f"training.optim: {asked} needs {lacking}; adamw_torch takes its place")
    return "adamw_torch"


def _four_bit(config: Config, device: str, notices: list[str]) -> bool:
    """4-bit also on a CPU, where bitsandbytes can do it: it saves memory there, though little time."""
    if not config.model.quantization_config.load_in_4bit:
        return False
    if device != "mps" and importlib.util.find_spec("bitsandbytes") is not None:
        return True
    lacking = "bitsandbytes cannot use mps" if device == "mps" else "bitsandbytes is not installed"
    notices.append(
        f"model.quantization_config.load_in_4bit: not used ({lacking}); the weights stay in full precision"
    )
    return False


def memory_now_gib(device: str) -> float:
    """What this process holds: GPU memory on a GPU, resident memory elsewhere."""
    held = torch.cuda.memory_reserved() if device == "cuda" else psutil.Process().memory_info().rss
    return held / 2**30


def memory_peak_gib(device: str) -> float:
    """The most this process ever held; never less than it holds now, which is read another way."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 2**30
    info: Any = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):
        return int(info.peak_wset) / 2**30
    return max(_peak_resident_bytes(), int(info.rss)) / 2**30


def _peak_resident_bytes() -> int:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
