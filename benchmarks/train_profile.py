"""Where the time of a training step goes: medlora's own worker under torch's profiler.

    python -m benchmarks.train_profile [--steps 6] [--dropout 0.1] [--threads 1] [--isa native]
        [--data FILE] [--model FOLDER] [--lines 40] [--home FOLDER]

Same rows and settings as `python -m benchmarks.train`. The first half of the steps only warms up. Beside
every kind of work stand its seconds in one step; for the products also the operations a second they reach,
beside what one large square product reaches on this machine at this moment. Compiled passes are named by what
was fused in them. The profiler itself costs a few per cent, so the sum is a little more than a step takes.
--home keeps what the compiler made for the next call.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.contestants import LIMITS, settings
from medlora.models.files import find_model
from medlora.runs.events import read_events
from medlora.runs.stop import request_stop
from medlora.runs.store import RunRequest, create_run
from medlora.workspace import RunPaths, Workspace

_PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::addmm_",
    "aten::bmm",
    "aten::linear",
    "mkldnn::_linear_pointwise",
)


def profile_run(ws: Workspace, run: RunPaths, steps: int) -> Any:
    """Work the run in this process; the profile of the second half of its steps."""
    import torch
    from torch.profiler import ProfilerActivity, profile, schedule
    from transformers import TrainerCallback

    from medlora.training import session
    from medlora.training.stopping import StopWish
    from medlora.training.worker import work

    warm = steps - steps // 2
    averages: list[Any] = []
    profiler = profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=0, warmup=warm, active=steps // 2, repeat=1),
        on_trace_ready=lambda done: averages.append(done.key_averages(group_by_input_shape=True)),
        record_shapes=True,
        with_flops=True,
        acc_events=True,
    )

    class Steps(TrainerCallback):
        """Tells the profiler of every step."""

        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            spent.append(time.perf_counter())
            profiler.step()
            if len(spent) == steps:
                request_stop(ws, run)

    spent: list[float] = []
    build = session.build_trainer

    def build_watched(*arguments: Any) -> Any:
        *before, callbacks = arguments
        return build(*before, [*callbacks, Steps()])

    session.build_trainer = build_watched
    torch._inductor.config.cpp.enable_kernel_profile = True
    try:
        with profiler:
            if work(ws, run, StopWish(run)):
                raise SystemExit(f"benchmark: the run failed: {read_events(run)[-1]}")
    finally:
        session.build_trainer = build
    return averages[0]


def rows_of(averages: Any, steps: int) -> Iterator[tuple[str, float, float, float]]:
    """(kind of work, seconds, times, floating-point operations), each of one step."""
    seconds: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    operations: dict[str, float] = defaultdict(float)
    for event in averages:
        name = event.key
        if name in _PRODUCTS:
            shapes = [shape for shape in event.input_shapes if len(shape) > 1][-2:]
            name = f"{name} {' x '.join(str(list(shape)) for shape in shapes)}"
        seconds[name] += event.self_cpu_time_total / 1e6 / steps
        counts[name] += event.count / steps
        operations[name] += (event.flops or 0) / steps
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        yield name, spent, counts[name], operations[name]


def measure_peak() -> float:
    """Floating-point operations a second of a square product of 2,048 in 16 bits, the best of five."""
    import torch

    one = torch.randn(2048, 2048, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(6):
        begin_s = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - begin_s)
    return 2 * 2048**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add: Callable[..., Any] = parser.add_argument
    add("--model", type=Path, help="a model folder; the prepared starter model without it")
    add("--data", type=Path, help="a JSONL file; the sample dataset without it")
    add("--steps", type=int, default=6)
    add("--threads", type=int, default=1)
    add("--dropout", type=float, default=0.1)
    add("--isa", choices=tuple(LIMITS), default="native")
    add("--lines", type=int, default=40)
    add("--home", type=Path, help="where to work; a folder that is taken away again without it")
    options = parser.parse_args()
    files = None if options.model else find_model(Workspace.open(), "starter")
    model = options.model or (files.path if files else None)
    if model is None:
        raise SystemExit("benchmark: the starter model is not prepared; start a chat once, or give --model")
    data = (options.data or Workspace.open().sample_dataset).resolve()
    os.environ.update(LIMITS[options.isa], OMP_NUM_THREADS=str(options.threads), MEDLORA_DEVICE="cpu")
    config = settings(model.resolve()).model_dump(mode="json")
    config["lora"]["lora_dropout"] = options.dropout
    with tempfile.TemporaryDirectory(prefix="medlora-profile-") as folder:
        ws = Workspace.open(options.home or Path(folder))
        dataset = {"name": "rows", "path": str(data)}
        request = RunRequest(config=config, dataset=dataset, adapter_name="profile", skip_bad_rows=True)
        run = create_run(ws, request)
        averages = profile_run(ws, run, options.steps)
    show(averages, options.steps // 2, options.lines)


def show(averages: Any, steps: int, lines: int) -> None:
    peak = measure_peak()
    rows = list(rows_of(averages, steps))
    total = sum(row[1] for row in rows)
    sys.stdout.write(f"one step: {total:.3f} s; a large product: {peak / 1e9:.0f} GFLOP/s\n\n")
    sys.stdout.write("| seconds | share | times | GFLOP/s | what |\n|---|---|---|---|---|\n")
    for name, seconds, count, operations in rows[:lines]:
        rate = f"{operations / seconds / 1e9:.0f}" if operations else ""
        sys.stdout.write(f"| {seconds:.4f} | {seconds / total:.1%} | {count:.0f} | {rate} | {name} |\n")
    products = [row for row in rows if row[0].split(" ")[0] in _PRODUCTS]
    spent, work = sum(row[1] for row in products), sum(row[3] for row in products)
    sys.stdout.write(
        f"\nproducts: {spent:.3f} s ({spent / total:.0%}) at {work / max(spent, 1e-9) / 1e9:.0f} GFLOP/s; "
        f"all else: {total - spent:.3f} s\n"
    )


if __name__ == "__main__":
    main()
