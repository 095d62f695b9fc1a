"""Who takes part in benchmarks/train.py, and one run of each: the real worker, and the programs in peers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from benchmarks.comparison import OURS, Case, Result, check_rows, check_tokens
from benchmarks.peers.job import Job, mark, read_answer
from medlora.config.schema import Config
from medlora.runs.events import read_events
from medlora.runs.process import FAST_ALLOCATION, LEAN_ALLOCATION
from medlora.runs.stop import request_stop
from medlora.runs.store import RunRequest, create_run
from medlora.workspace import RunPaths, Workspace

CHECKOUT = Path(__file__).resolve().parents[1]
PEERS = CHECKOUT / "benchmarks" / "peers"
LIMITS = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
    },
}
# The program in peers and its arguments.
PROGRAMS = {
    "naive": ("hugging_face.py", "naive"),
    "manual": ("hugging_face.py", "manual"),
    "TRL": ("trl_sft.py",),
    "LLaMA-Factory": ("llama_factory.py",),
}
_POLL_S = 0.02
_WORKER_S = 900


@dataclass(frozen=True)
class Bench:
    """What all runs share. rows: every row of the data, in order; python: of each peer that was given."""

    ws: Workspace
    config: Config
    data: Path
    rows: list[dict[str, list[int]]]
    steps: int
    threads: int
    pythons: dict[str, str]
    device: str = "cpu"

    @property
    def rows_a_step(self) -> int:
        training = self.config.training
        return training.per_device_train_batch_size * training.gradient_accumulation_steps

    def environment(self, case: Case) -> dict[str, str]:
        """Why PYTHONPATH is dropped: a peer must not find the packages of this environment."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        limits = {"OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
        return kept | limits | LIMITS[case.isa]


def settings(model: Path) -> Config:
    """The manual's adapter and training sections; a constant rate, so that all see the same one."""
    return Config.model_validate(
        {
            "model": {"base_model_name": str(model)},
            "lora": {"r": 32, "lora_alpha": 64, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
            "training": {
                "num_train_epochs": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4,
                "learning_rate": 1e-4, "lr_scheduler_type": "constant", "warmup_steps": 0,
                "weight_decay": 0.01, "logging_steps": 1, "save_steps": 100_000,
                "train_sampling_strategy": "sequential",
            },
            "data": {"max_seq_length": 2048, "max_length": 2048, "eval_dataset_size": 0.0},
            "safety": {"system_prompt": "You are a careful medical information assistant."},
        }
    )  # fmt: skip


def run_ours(bench: Bench, case: Case, number: int) -> Result:
    """The real worker, stopped after the steps."""
    lora = bench.config.lora.model_copy(update={"lora_dropout": case.dropout})
    config = bench.config.model_copy(update={"lora": lora}).model_dump(mode="json")
    dataset = {"name": "rows", "path": str(bench.data)}
    run = create_run(
        bench.ws, RunRequest(config=config, dataset=dataset, adapter_name=OURS, skip_bad_rows=True)
    )
    environment = bench.environment(case) | {"PYTHONPATH": str(CHECKOUT)}
    environment |= {"MEDLORA_DEVICE": "cpu"} if bench.device == "cpu" else {}
    lean = LEAN_ALLOCATION if config["training"]["gradient_checkpointing"] else FAST_ALLOCATION
    began = time.time()
    with run.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "medlora.training.worker", str(run.root)],
            stdout=log, stderr=log, cwd=bench.ws.home, env=environment | lean,
        )  # fmt: skip
        cpu_s = _follow(bench, run, process.pid)
        peak_gib = _wait(process)
    steps = _events(run, "step")[: bench.steps]
    if len(steps) < bench.steps:
        raise SystemExit(f"medlora: the run failed\n{run.log.read_text(encoding='utf-8')[-3000:]}")
    lengths = [len(row["input_ids"]) for row in bench.rows]
    check_tokens(lengths, bench.rows_a_step, [step["tokens"] for step in steps])
    plan = _events(run, "plan")[0]
    if bench.device != "cpu":
        peak_gib = steps[-1]["peak_memory_gib"]
    chosen = ("precision", "compiled", "threads", "micro_batch", "accumulation", "unpadded")
    return _result(
        (OURS, case, number), began, [step["time"] for step in steps], cpu_s,
        losses=[step["loss"] for step in steps], peak_gib=peak_gib,
        settings={name: plan[name] for name in chosen},
        versions={name: metadata.version(name) for name in ("torch", "transformers", "peft")},
    )  # fmt: skip


def _follow(bench: Bench, run: RunPaths, pid: int) -> list[float]:
    """Processor seconds at the end of every step; the run is asked to stop after the last one."""
    process, spent = psutil.Process(pid), list[float]()
    deadline = time.monotonic() + _WORKER_S
    while time.monotonic() < deadline and process.status() != psutil.STATUS_ZOMBIE:
        times = process.cpu_times()
        done = len(_events(run, "step"))
        spent += [times.user + times.system] * (min(done, bench.steps) - len(spent))
        if done >= bench.steps:
            request_stop(bench.ws, run)
            break
        time.sleep(_POLL_S)
    return spent


def run_peer(bench: Bench, case: Case, number: int, name: str) -> Result:
    """A peer's own program in its own environment."""
    program, *arguments = PROGRAMS[name]
    wanted = bench.rows[: bench.steps * bench.rows_a_step]
    with tempfile.TemporaryDirectory(prefix="medlora-train-") as folder:
        job = Job(
            bench.config.model.base_model_name,
            wanted,
            bench.steps,
            f"{folder}/out",
            case.dropout,
            device=bench.device,
        ).save(Path(folder) / "job.json")
        command = [bench.pythons[name], str(PEERS / program), *arguments, str(job)]
        output = Path(folder) / "output.txt"
        began = time.time()
        with output.open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env=bench.environment(case)
            )
            peak_gib = _wait(process)
        said = output.read_text(encoding="utf-8", errors="replace")
    try:
        found = read_answer(said)
    except ValueError as error:
        raise SystemExit(f"{name}: {error}\n{said[-3000:]}") from error
    check_rows(name, [mark(row["input_ids"], row["labels"]) for row in wanted], found["marks"])
    return _result(
        (name, case, number), began, found["times_s"], found["cpu_s"], losses=found["losses"],
        peak_gib=found.get("gpu_gib") or peak_gib, settings=found["settings"], versions=found["versions"],
    )  # fmt: skip


def _result(
    of: tuple[str, Case, int], began: float, times_s: Sequence[float], cpu_s: Sequence[float], **rest: Any
) -> Result:
    name, case, number = of
    return Result(
        name, case, number,
        start_s=round(times_s[0] - began, 2),
        step_s=[round(after - before, 4) for before, after in itertools.pairwise(times_s)],
        cpu_s=[round(after - before, 3) for before, after in itertools.pairwise(cpu_s)],
        **rest,
    )  # fmt: skip


def _events(run: RunPaths, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["kind"] == kind]


def _wait(process: subprocess.Popen[bytes]) -> float:
    """GiB that the process held at its peak, by the system's own account."""
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it is gone: Popen must not wait for it again
    return round(usage.ru_maxrss / 2**20, 3)
