"""Forecast against measured memory: the real worker on models of random weights.

    python -m benchmarks.memory [--cases 4] [--device cpu|cuda] [--json FILE]

Every case is a run of two steps in a process of its own. Measured is what the process grew by, from before
the model was loaded to its peak; forecast is the total that `config estimate` gives for that step, less what
the process held before. So the libraries flatter no figure. Pages of the model's file that are mapped while
it is read do not count where the system tells them apart (Linux): it takes them back when memory is short.
Where the weights stay as they are in the file, its pages are the weights, and count once.

With --device cuda, measured is the most that torch took of the GPU, and forecast the total without the half
GiB that is allowed for the GPU's own software; what that takes is shown beside it (nvidia-smi, less torch's).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from safetensors import safe_open

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from benchmarks.random_models import MODELS, make_model  # noqa: E402
from medlora.config.memory import GIB, Device, from_trace, saves_memory  # noqa: E402
from medlora.config.schema import Config  # noqa: E402
from medlora.jobs.memory import Case, trace  # noqa: E402
from medlora.models.architecture import facts_from_config  # noqa: E402
from medlora.runs.events import read_events  # noqa: E402
from medlora.runs.process import FAST_ALLOCATION, LEAN_ALLOCATION  # noqa: E402
from medlora.runs.store import RunRequest, create_run  # noqa: E402
from medlora.training.device import Setup  # noqa: E402
from medlora.workspace import RunPaths, Workspace  # noqa: E402

_LOOK_S = 0.01


@dataclass(frozen=True)
class Trial:
    """One run: which model, rows at a time, their length, precision, and what saves memory."""

    model: str
    rows: int
    length: int
    dtype: str = "float32"
    checkpointing: bool = False
    four_bit: bool = False
    dropout: float = 0.05
    rank: int = 16
    flat: bool = True

    @property
    def title(self) -> str:
        marks = [self.dtype.removeprefix("torch.")]
        marks += ["4-bit"] * self.four_bit + ["checkpointing"] * self.checkpointing
        marks += [] if self.flat else ["padded"]
        marks += [f"r {self.rank}"] if self.rank != 16 else []
        marks += [] if self.dropout else ["no dropout"]
        return f"{self.model} {self.rows} x {self.length}, {', '.join(marks)}"


TRIALS = [
    Trial("llama-30m", 8, 256),
    Trial("llama-30m", 2, 1024, "bfloat16", checkpointing=True),
    Trial("llama-135m", 1, 128),
    Trial("llama-135m", 8, 256),
    Trial("llama-135m", 4, 512, "bfloat16"),
    Trial("llama-135m", 16, 128, "bfloat16", dropout=0.0),
    Trial("llama-135m", 8, 256, checkpointing=True),
    Trial("llama-135m", 8, 256, "bfloat16", checkpointing=True),
    Trial("llama-135m", 8, 256, rank=64),
    Trial("llama-135m", 4, 256, flat=False),
    Trial("llama-135m", 2, 1024, four_bit=True),
    Trial("llama-360m", 4, 256),
    Trial("llama-360m", 4, 512, "bfloat16"),
    Trial("llama-360m", 2, 1024, "bfloat16", checkpointing=True),
    Trial("qwen2-500m", 4, 256, "bfloat16"),
    Trial("qwen2-500m", 2, 512, checkpointing=True),
    Trial("qwen2-500m", 4, 512, "bfloat16", checkpointing=True, four_bit=True),
    Trial("phi3-200m", 4, 512, "bfloat16"),
    Trial("phi3-200m", 4, 512, checkpointing=True),
]
# The last two have the shape of Phi-4-mini.
GPU_TRIALS = [
    Trial("llama-135m", 8, 256, "bfloat16"),
    Trial("llama-135m", 8, 1024, "bfloat16"),
    Trial("llama-135m", 8, 1024, "bfloat16", flat=False),
    Trial("qwen2-500m", 4, 1024, "bfloat16", four_bit=True),
    Trial("llama-1b", 4, 1024, "bfloat16"),
    Trial("llama-1b", 8, 2048, "bfloat16", checkpointing=True),
    Trial("llama-1b", 4, 1024, "bfloat16", four_bit=True),
    Trial("phi3-4b", 2, 1024, "bfloat16", four_bit=True),
    Trial("phi3-4b", 2, 2048, "bfloat16", checkpointing=True, four_bit=True),
]


def write_rows(path: Path, rows: int) -> Path:
    """Rows longer than any of the lengths above, so that every one is cut to just that."""
    words = " ".join(f"visit {number} went well and the patient" for number in range(60))
    records = ({"instruction": f"Question {n}?", "response": f"{n} {words}"} for n in range(rows))
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def settings(trial: Trial, model: Path) -> Config:
    return Config.model_validate(
        {
            "model": {
                "base_model_name": str(model),
                "quantization_config": {"load_in_4bit": trial.four_bit, "bnb_4bit_use_double_quant": True},
            },
            "lora": {"r": trial.rank, "lora_dropout": trial.dropout, "target_modules": "all-linear"},
            "training": {
                "max_steps": 2, "save_steps": 100, "per_device_train_batch_size": trial.rows,
                "gradient_accumulation_steps": 1, "gradient_checkpointing": trial.checkpointing,
            },
            "data": {"max_seq_length": trial.length, "max_length": 4096, "eval_dataset_size": 0.0},
            "safety": {"system_prompt": "Answer kindly."},
        }
    )  # fmt: skip


def measure(ws: Workspace, trial: Trial, device: str) -> dict[str, float]:
    """GiB that the run's process held before the model, and its peak."""
    model = make_model(ws.home / trial.model, trial.model, device)
    config = settings(trial, model)
    data = write_rows(ws.home / "rows.jsonl", 2 * trial.rows)
    plain = config.model_dump(mode="json")
    run = create_run(ws, RunRequest(config=plain, dataset={"name": "r", "path": str(data)}, adapter_name="m"))
    setup = Setup(
        device, trial.dtype, "sdpa", "adamw_torch", four_bit=trial.four_bit, flat=trial.flat,
        threads=1 if device == "cpu" else None, label_only=True, micro_batch=trial.rows, accumulation=1,
    )  # fmt: skip
    idle = _used_gib() if device == "cuda" else 0.0
    (run.root / "setup.json").write_text(json.dumps(asdict(setup)), encoding="utf-8")
    with run.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "medlora.training.worker", str(run.root)],
            stdout=log, stderr=log, cwd=ws.home,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)}
            | ({"MEDLORA_DEVICE": "cpu"} if device == "cpu" else {})
            | (LEAN_ALLOCATION if saves_memory(config) else FAST_ALLOCATION),
        )  # fmt: skip
        grown_gib = _watch(run, process) if device == "cpu" else _watch_gpu(process, idle)
    if process.returncode:
        raise SystemExit(f"{trial.title}: the run failed\n{run.log.read_text(encoding='utf-8')[-3000:]}")
    if device == "cuda":
        peak = next(event["peak_memory_gib"] for event in read_events(run) if event["kind"] == "ended")
        return {"memory_before_gib": 0.0, "grown_gib": peak, "software_gib": grown_gib - peak}
    before = next(event["memory_before_gib"] for event in read_events(run) if event["kind"] == "held")
    grown_gib += _kept_in_the_file(trial, model) / GIB
    return {"memory_before_gib": before, "grown_gib": grown_gib}


def _used_gib() -> float:
    """What all programs hold of the first GPU."""
    asked = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    return float(answer.stdout.strip()) / 1024


def _watch_gpu(process: subprocess.Popen[bytes], idle_gib: float) -> float:
    """GiB of the GPU taken at the peak; torch gives nothing back before its process ends."""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _used_gib())
        time.sleep(_LOOK_S)
    return peak - idle_gib


def _kept_in_the_file(trial: Trial, model: Path) -> int:
    """Bytes of the weights that stay as the file has them (bfloat16), so that its pages are the weights."""
    if trial.dtype != "bfloat16":
        return 0
    total = 0
    for file in model.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                part = weights.get_tensor(name)
                if not trial.four_bit or "_proj" not in name:
                    total += part.numel() * part.element_size()
    return total


def _watch(run: RunPaths, process: subprocess.Popen[bytes]) -> float:
    """GiB by which the process's own memory rose above what it was before the model was loaded."""
    before = peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            info = watched.memory_info()
        except psutil.Error:
            break
        own = info.rss - getattr(info, "shared", 0)
        if not before and any(event["kind"] == "held" for event in read_events(run)):
            before = own
        peak = max(peak, own if before else 0)
        time.sleep(_LOOK_S)
    process.wait()
    return (peak - before) / GIB


def case_of(trial: Trial, model: Path, device: str) -> Case:
    """The same step for the trace."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    fused = MODELS[trial.model][0] == "phi3"
    attention = ["qkv_proj", "o_proj"] if fused else ["q_proj", "k_proj", "v_proj", "o_proj"]
    inner = ["gate_up_proj", "down_proj"] if fused else ["gate_proj", "up_proj", "down_proj"]
    return Case(
        model=config, modules=attention + inner, rows=[trial.length] * trial.rows, dtype=trial.dtype,
        flat=trial.flat, rank=trial.rank, dropout=trial.dropout, four_bit=trial.four_bit, double_quant=True,
        checkpointing=trial.checkpointing, device=device,
    )  # fmt: skip


def compare(ws: Workspace, trial: Trial, device: str) -> dict[str, Any]:
    measured = measure(ws, trial, device)
    case = case_of(trial, ws.home / trial.model, device)
    answer = trace(case)
    machine = Device(device, bf16=trial.dtype == "bfloat16")
    config = settings(trial, ws.home / trial.model)
    forecast = from_trace(
        answer["parts"], answer["trainable"], machine, config, facts_from_config(case.model)
    )
    grown = measured["grown_gib"]
    expected = forecast.total_gib - measured["memory_before_gib"]
    expected -= forecast.parts["overhead"] if device == "cuda" else 0.0
    return {
        "case": trial.title,
        "before_gib": measured["memory_before_gib"],
        "measured_gib": round(grown, 3),
        "forecast_gib": round(expected, 3),
        "error": round(expected / grown - 1, 4),
        "trace_s": answer["seconds"],
        "software_gib": round(measured.get("software_gib", 0.0), 3),
        "traced_gib": {name: round(size / GIB, 3) for name, size in answer["parts"].items()},
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="only cases whose title contains this")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    chosen = parser.parse_args()
    names = ("torch", "transformers", "peft", "bitsandbytes")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    _say(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {versions}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="medlora-memory-") as home:
        ws = Workspace.open(Path(home))
        trials = TRIALS if chosen.device == "cpu" else GPU_TRIALS
        for trial in (trial for trial in trials if chosen.cases in trial.title):
            row = compare(ws, trial, chosen.device)
            rows.append(row)
            _say(
                f"{row['case']:<58} measured {row['measured_gib']:6.3f}  forecast {row['forecast_gib']:6.3f} "
                f"{row['error']:+7.1%}  before {row['before_gib']:.3f}  trace {row['trace_s']:.1f} s"
                + (f"  software {row['software_gib']:.2f}" if chosen.device == "cuda" else "")
            )
    errors = [row["error"] for row in rows]
    if errors:
        middle = statistics.median(abs(error) for error in errors)
        _say(f"median error {middle:.1%}, lowest {min(errors):+.1%}, highest {max(errors):+.1%}")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
