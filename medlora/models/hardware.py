"""What this machine has: the one source for every room that must choose.

Only torch can say what it will use, and the web process never imports it: so a short job asks once, in a
process of its own, and its answer is kept until torch or the graphics cards change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from medlora.errors import UserError
from medlora.workspace import Workspace, make_private, write_json

HARDWARE_VARIABLE = "MEDLORA_HARDWARE"
_GIB = 2**30
_PROBE_TIMEOUT_S = 180


@dataclass(frozen=True)
class Hardware:
    """The device that work runs on, and the machine around it.

    total_gib and free_gib are the device's own memory, on a CPU the machine's. bf16: whether it is
    supported on a GPU, and on a CPU whether a short forward and backward ran faster than fp32.
    problem: why the device could not be asked, empty when all is well.
    """

    kind: Literal["cuda", "mps", "cpu"]
    name: str
    total_gib: float
    free_gib: float
    cores: int
    ram_total_gib: float
    ram_free_gib: float
    torch_version: str | None
    bf16: bool
    bitsandbytes: bool
    flash_attn: bool
    gpus: int
    bf16_speedup: float | None = None
    problem: str = ""


def report_hardware(ws: Workspace) -> Hardware:
    """The hardware, memory figures as of now; the first call takes as long as importing torch.

    MEDLORA_HARDWARE may name a JSON file with these fields, which then stands for the machine.
    Raises: UserError when that file cannot be used.
    """
    named = os.environ.get(HARDWARE_VARIABLE, "").strip()
    if named:
        return _read_named(Path(named))
    key = _cache_key()
    known = _read_cache(ws, key)
    if known is None:
        known = _probe()
        if not known.problem:
            with contextlib.suppress(OSError):  # a full disk must not hide what the machine can do
                make_private(ws.cache)
                write_json(_cache_file(ws), {"key": key, "hardware": _as_dict(known)})
    return _refresh(known)


def cached_hardware(ws: Workspace) -> Hardware | None:
    """The hardware if it was asked before, at once; else None."""
    if os.environ.get(HARDWARE_VARIABLE, "").strip():
        return report_hardware(ws)
    known = _read_cache(ws, _cache_key())
    return _refresh(known) if known else None


def _cache_file(ws: Workspace) -> Path:
    return ws.cache / "hardware.json"


def _as_dict(hardware: Hardware) -> dict[str, Any]:
    return {field.name: getattr(hardware, field.name) for field in fields(Hardware)}


def _read_named(path: Path) -> Hardware:
    try:
        return Hardware(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"env {HARDWARE_VARIABLE}: the file cannot be used ({error})") from error


def _read_cache(ws: Workspace, key: str) -> Hardware | None:
    try:
        cached = json.loads(_cache_file(ws).read_text(encoding="utf-8"))
        return Hardware(**cached["hardware"]) if cached["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _cache_key() -> str:
    """Changes with anything that could change torch's answer."""
    packages = [_version(name) for name in ("torch", "bitsandbytes", "flash-attn")]
    cards = [card["name"] for card in read_cards()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    parts = [packages, cards, visible, platform.node(), platform.python_version()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _probe() -> Hardware:
    ram_total, ram_free = read_ram_gib()
    plain = Hardware(
        kind="cpu",
        name=platform.processor() or platform.machine(),
        total_gib=ram_total,
        free_gib=ram_free,
        cores=count_cores(),
        ram_total_gib=ram_total,
        ram_free_gib=ram_free,
        torch_version=_version("torch"),
        bf16=False,
        bitsandbytes=False,
        flash_attn=False,
        gpus=0,
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    env.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which read_cards lists them
    try:
        done = subprocess.run(
            [sys.executable, "-m", "medlora.jobs.hardware"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return replace(plain, problem=f"torch did not answer ({type(error).__name__})")
    if done.returncode != 0:
        lines = done.stderr.strip().split("\n")
        return replace(plain, problem=f"torch cannot be used ({lines[-1].strip()[:300]})")
    return replace(plain, **json.loads(done.stdout.strip().split("\n")[-1]))


def _refresh(known: Hardware) -> Hardware:
    ram_total, ram_free = read_ram_gib()
    now = replace(known, cores=count_cores(), ram_total_gib=ram_total, ram_free_gib=ram_free)
    if known.kind == "cuda":
        card = _own_card(read_cards())
        return replace(now, free_gib=card["free_gib"], total_gib=card["total_gib"]) if card else now
    if known.kind == "mps":
        return replace(now, free_gib=min(known.total_gib, ram_free))
    return replace(now, total_gib=ram_total, free_gib=ram_free)


def count_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_ram_gib(group: Path = Path("/sys/fs/cgroup")) -> tuple[float, float]:
    """(total, free) memory in GiB, a container's own limit where that is lower.

    Why the cache of files counts as free: the kernel gives it back, and a container that has just read its
    models would otherwise seem full.
    """
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit, used = _read_number(group / "memory.max"), _read_number(group / "memory.current")
    if limit is not None and limit < total:
        total = limit
        free = min(free, max(0, limit - (used or 0) + _read_file_cache(group / "memory.stat")))
    return round(total / _GIB, 2), round(free / _GIB, 2)


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _read_file_cache(path: Path) -> int:
    """What of a container's memory holds files that nobody has read lately, in bytes."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def read_cards() -> list[dict[str, Any]]:
    """NVIDIA's cards with their memory in GiB, in the driver's order; none without its tool."""
    if shutil.which("nvidia-smi") is None:  # a process that cannot be started costs more than this look
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    cards = []
    for line in done.stdout.strip().split("\n"):
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            total, free = int(parts[1]) / 1024, int(parts[2]) / 1024
            cards.append({"name": parts[0], "total_gib": round(total, 2), "free_gib": round(free, 2)})
    return cards


def _own_card(cards: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The card that torch calls cuda:0; None when it cannot be told."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    if not first.isdigit() or int(first) >= len(cards):
        return None
    return cards[int(first)]
