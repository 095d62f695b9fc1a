"""The memory a run needs: counted at once, then traced by a short job whose answers are kept.

The count is a formula over the model's shape. The trace computes a step of the real architecture on tensors
without data, in a process of its own, since the page's process never imports torch. Whoever must not wait
asks `known_forecast`; `trace_forecast` waits, and falls back to the count when no trace can be had.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from filelock import FileLock, Timeout

from medlora.config.memory import Device, Forecast, forecast, from_trace, state_bytes
from medlora.config.portion import cut_batches, join_batches
from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.models.architecture import ArchitectureFacts, facts_from_config, fit_target_modules
from medlora.models.files import read_settings
from medlora.models.hardware import Hardware, report_hardware
from medlora.runs.process import worker_environment
from medlora.services.devices import share_of
from medlora.workspace import Workspace, make_private, write_json

_GIB = 2**30
_TRACE_TIMEOUT_S = 120.0
_KEPT_ANSWERS = 200
_PACKAGES = ("torch", "transformers", "peft")
# A run computes in bf16 on a CPU where that is at least so many times faster (training/device.py).
_WORTH_BFLOAT16 = 1.3


@dataclass(frozen=True)
class _Asked:
    """A configuration on this machine, with what is known of its model."""

    config: Config
    settings: dict[str, Any]
    facts: ArchitectureFacts
    modules: list[str]
    device: Device
    longest: int | None

    @property
    def portion(self) -> int:
        """Rows at a time: as many as are fast and fit; as set where only the set ones are tried."""
        training = self.config.training
        if self.device.kind not in ("cpu", "cuda"):
            return training.per_device_train_batch_size
        effective = training.per_device_train_batch_size * training.gradient_accumulation_steps
        free = (self.device.free_gib or 0.0) * _GIB
        cut = cut_batches if self.device.kind == "cpu" else join_batches
        return cut(self.config, self.facts, [self.sequence] * effective, free)[0]

    @property
    def sequence(self) -> int:
        most = self.config.data.max_seq_length
        return min(most, self.longest or most)


def count_forecast(ws: Workspace, config: Config, *, longest: int | None = None) -> Forecast:
    """The forecast by formula, at once.

    Raises: UserError when nothing is known of the model before it is downloaded.
    """
    return _count(_ask(ws, config, longest))


def known_forecast(ws: Workspace, config: Config, *, longest: int | None = None) -> Forecast:
    """The traced forecast if it was made before, else the counted one; never waits.

    Raises: as `count_forecast`.
    """
    asked = _ask(ws, config, longest)
    return _recall(ws, asked) or _count(asked)


def trace_forecast(ws: Workspace, config: Config, *, longest: int | None = None) -> Forecast:
    """The traced forecast, made now if need be; the counted one where no trace can be had.

    Raises: as `count_forecast`.
    """
    asked = _ask(ws, config, longest)
    known = _recall(ws, asked)
    if known is not None:
        return known
    lock = FileLock(make_private(ws.locks) / "memory.lock", timeout=_TRACE_TIMEOUT_S)
    try:
        with lock:
            known = _recall(ws, asked)
            if known is None:
                _remember(ws, asked, _run_trace(ws, _question(asked)))
                known = _recall(ws, asked)
    except (Timeout, OSError, ValueError, subprocess.SubprocessError):
        known = None
    return known or _count(asked)


def _ask(ws: Workspace, config: Config, longest: int | None) -> _Asked:
    name = config.model.base_model_name
    settings = read_settings(ws, name)
    if settings is None:
        raise UserError(
            f"model.base_model_name: the shape of this model is not known before it is here (got {name}); "
            "start a run to fetch it, or use medlora.estimate_memory_usage"
        )
    facts = facts_from_config(settings)
    modules, _, _ = fit_target_modules(config.lora.target_modules, facts)
    hardware = share_of(report_hardware(ws), config)
    return _Asked(config, settings, facts, modules, _as_device(hardware), longest)


def _as_device(hardware: Hardware) -> Device:
    bf16 = hardware.bf16
    if hardware.kind == "cpu" and hardware.bf16_speedup is not None:
        bf16 = hardware.bf16_speedup >= _WORTH_BFLOAT16
    return Device(hardware.kind, hardware.total_gib, hardware.free_gib, bf16, four_bit=hardware.bitsandbytes)


def _count(asked: _Asked) -> Forecast:
    training = asked.config.training.model_copy(update={"per_device_train_batch_size": asked.portion})
    config = asked.config.model_copy(update={"training": training})
    return forecast(config, asked.facts, asked.device, modules=asked.modules, longest=asked.longest)


def _question(asked: _Asked) -> dict[str, Any]:
    """What the job is asked: everything that a step's memory depends on, and nothing else."""
    config, device = asked.config, asked.device
    quantization = config.model.quantization_config
    short = "bfloat16" if device.bf16 else "float16"
    return {
        "model": asked.settings,
        "modules": asked.modules,
        "sequence": asked.sequence,
        "batch": config.training.per_device_train_batch_size,
        "portion": asked.portion,
        "device": device.kind,
        "dtype": short if device.kind == "cuda" or (device.kind == "cpu" and device.bf16) else "float32",
        "attention": "eager" if config.model.attn_implementation == "eager" else "sdpa",
        "rank": config.lora.r,
        "dropout": config.lora.lora_dropout,
        "four_bit": quantization.load_in_4bit and device.four_bit and device.kind != "mps",
        "double_quant": quantization.bnb_4bit_use_double_quant,
        "checkpointing": config.training.gradient_checkpointing,
        "accumulates": config.training.gradient_accumulation_steps > 1,
        "state_bytes": state_bytes(config),
    }


def _run_trace(ws: Workspace, question: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "medlora.jobs.memory"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=_TRACE_TIMEOUT_S,
        check=True,
        cwd=make_private(ws.empty),
        env=worker_environment(ws, os.environ, offline=True),
    )
    answer: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return answer


def _key(asked: _Asked) -> str:
    versions = [metadata.version(name) for name in ("medlora", *_PACKAGES) if _is_installed(name)]
    text = json.dumps([_question(asked), versions], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _recall(ws: Workspace, asked: _Asked) -> Forecast | None:
    try:
        answer = json.loads((ws.cache / "memory" / f"{_key(asked)}.json").read_text(encoding="utf-8"))
        return from_trace(answer["parts"], int(answer["trainable"]), asked.device, asked.config, asked.facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(ws: Workspace, asked: _Asked, answer: dict[str, Any]) -> None:
    folder = make_private(make_private(ws.cache) / "memory")
    old = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in old[_KEPT_ANSWERS:]:
        path.unlink(missing_ok=True)
    write_json(folder / f"{_key(asked)}.json", answer)
