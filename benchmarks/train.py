"""Training against other training programs, interleaved, on the same rows, label positions and steps.

    python -m benchmarks.train [--trl-python TRL/bin/python] [--llama-factory-python LF/bin/python]
        [--rounds 3] [--steps 6] [--threads N] [--dropout 0 0.1] [--isa native avx2]
        [--data FILE] [--model FOLDER] [--only NAME ...] [--json FILE] [--add FILE ...]
        [--device cpu|cuda] [--random SHAPE] [--varied]

Every contestant runs in a process of its own, in turn, the order moved on by one in every round. medlora is
the real worker, in a run planned for three epochs and stopped after the steps; the others are the programs
in benchmarks/peers, which name the environment each needs. Rows are tokenised once, by medlora, and seen in
the same order by all; what a peer's model was really given is compared row by row. LoRA r 32 on query, key,
value and output, 2 rows x 4 portions, AdamW at a constant 1e-4, adapters in float32. The manual is taken
literally as far as a CPU can follow it (see benchmarks/peers/hugging_face.py).

Timed are the steps after the first; `start s` is the time from the start of the process to the end of its
first step, compilers and trials included. On a shared machine only ratios of one round mean anything, and
processor seconds vary less than wall seconds. With --json FILE rounds are added to those the file holds, and
--add puts the files of several calls together.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.comparison import OURS, Case, Result, check_first_losses, summarize, table
from benchmarks.contestants import LIMITS, PROGRAMS, Bench, run_ours, run_peer, settings
from benchmarks.random_models import make_model, write_varied_rows
from medlora.config.schema import Config
from medlora.dataset.render import ChatTokenizer
from medlora.models.files import find_model
from medlora.workspace import Workspace

# Those of benchmarks/random_models.py whose vocabulary holds the starter's tokens.
_SHAPES = ("llama-135m", "llama-360m", "llama-1b")


def play(bench: Bench, case: Case, number: int, names: Sequence[str]) -> Iterator[Result]:
    """One round of one case, contestant by contestant."""
    turn = number % len(names)
    results = []
    for name in [*names[turn:], *names[:turn]]:
        result = run_ours(bench, case, number) if name == OURS else run_peer(bench, case, number, name)
        results.append(result)
        _say(
            f"round {number + 1}, {case.title}: {name} {result.seconds:.2f} s a step, "
            f"{result.cpu_seconds:.2f} s of processor, loss {result.losses[-1]:.4f}, "
            f"{result.peak_gib:.2f} GiB"
        )
        yield result
    apart = check_first_losses(results)
    _say(f"round {number + 1}: same rows; the first losses lie within {apart:.1%}")


def describe_machine(threads: int) -> dict[str, Any]:
    """What a figure depends on, of this machine."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = set(facts.get("flags", "").split())
    family = f"family {facts.get('cpu family', '?')}, model {facts.get('model', '?')}"
    return {
        "cpu": f"{facts.get('model name', platform.processor() or platform.machine())} ({family})",
        "instructions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags],
        "threads": threads,
    }


def _describe_gpu(device: str) -> dict[str, str]:
    import torch

    return {} if device == "cpu" else {"gpu": torch.cuda.get_device_name(0)}


def describe(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """The settings that rounds must share to be put together."""
    timed = bench.rows[bench.rows_a_step : bench.rows_a_step * bench.steps]
    return {
        "machine": describe_machine(options.threads) | _describe_gpu(options.device),
        "data": bench.data.name,
        "steps": bench.steps,
        "rows_a_step": bench.rows_a_step,
        "tokens_per_step": sum(len(row["input_ids"]) for row in timed) / max(1, bench.steps - 1),
    }


def load_rows(model: Path, data: Path, config: Config) -> list[dict[str, list[int]]]:
    """The rows as the worker will encode them."""
    from medlora.training.examples import prepare_examples

    dataset = {"path": str(data)}
    return prepare_examples(dataset, config, ChatTokenizer.load(model), skip_bad_rows=True).train


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add: Callable[..., Any] = parser.add_argument
    add("--model", type=Path, help="a model folder; the prepared starter model without it")
    add("--random", choices=_SHAPES, help="random weights in this shape, the starter's tokenizer")
    add("--varied", action="store_true", help="160 made-up answers of 80 to 1,200 words in place of --data")
    add("--data", type=Path, help="a JSONL file; the sample dataset without it")
    add("--rounds", type=int, default=3)
    add("--steps", type=int, default=6)
    add("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    add("--dropout", type=float, nargs="+", default=[0.0, 0.1])
    add("--isa", nargs="+", choices=tuple(LIMITS), default=list(LIMITS))
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--trl-python", help="python of an environment with TRL")
    add("--llama-factory-python", help="python of an environment with LLaMA-Factory")
    add("--only", nargs="+", default=[], choices=(OURS, *PROGRAMS), help="only these contestants")
    add("--json", type=Path, help="write every round to this file, after those it holds")
    add("--add", type=Path, nargs="+", default=[], help="files of earlier rounds; --rounds 0 only shows them")
    return parser.parse_args()


def choose(options: argparse.Namespace) -> dict[str, str]:
    """The python of every peer that takes part; a line for each that does not."""
    given = {"TRL": options.trl_python, "LLaMA-Factory": options.llama_factory_python}
    pythons = {name: given.get(name, sys.executable) for name in PROGRAMS}
    for name, python in pythons.items():
        if python is None:
            flag = "--" + name.lower() + "-python"
            _say(f"{name}: left out, since {flag} does not name the python of its environment")
    return {name: python for name, python in pythons.items() if python}


def choose_work(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """The model's folder and the file of rows; what is made for this run goes into `folder`."""
    files = None if options.model else find_model(Workspace.open(), "starter")
    model = options.model or (files.path if files else None)
    if model is None:
        raise SystemExit("benchmark: the starter model is not prepared; start a chat once, or give --model")
    if options.random:
        model = make_model(folder / options.random, options.random, options.device, tokenizer=model)
    data = options.data or Workspace.open().sample_dataset
    if options.varied:
        data = write_varied_rows(folder / "varied.jsonl")
    return model.resolve(), data.resolve()


def load_results(paths: Sequence[Path], known: dict[str, Any]) -> list[Result]:
    """The rounds of earlier calls with the same settings, numbered on from file to file."""
    results: list[Result] = []
    for path in paths:
        held = json.loads(path.read_text(encoding="utf-8"))
        for name, value in known.items():
            if held[name] != value:
                raise SystemExit(
                    f"{path}: its rounds had {name} {held[name]}, not {value}; give another file"
                )
        before = max((result.round + 1 for result in results), default=0)
        found = [Result.from_json(values) for values in held["results"]]
        results += [replace(result, round=result.round + before) for result in found]
    return results


def save_results(path: Path, known: dict[str, Any], results: Sequence[Result]) -> None:
    content = {**known, "results": [result.to_json() for result in results]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def report(known: dict[str, Any], results: Sequence[Result]) -> None:
    """The tables, and what was compared."""
    known["summary"] = {}
    for case in dict.fromkeys(result.case for result in results):
        own = [result for result in results if result.case == case]
        known["summary"][case.title] = summarize(own, known["tokens_per_step"])
        _say(f"\n{case.title}:\n\n{table(known['summary'][case.title])}")
    _say(f"\n{json.dumps(known['machine'])}")
    for name in dict.fromkeys(result.contestant for result in results):
        one = next(result for result in results if result.contestant == name)
        _say(f"{name}: {json.dumps(one.settings)} {json.dumps(one.versions)}")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="medlora-train-") as home:
        ws = Workspace.open(Path(home))
        model, data = choose_work(options, Path(home))
        config = settings(model)
        rows, pythons = load_rows(model, data, config), choose(options)
        names = [name for name in (OURS, *pythons) if not options.only or name in options.only]
        bench = Bench(ws, config, data, rows, options.steps, options.threads, pythons, options.device)
        known = describe(options, bench)
        held = [path for path in (options.json, *options.add) if path and path.exists()]
        results = load_results(held, known)
        for _ in range(options.rounds):
            for case in [Case(dropout, isa) for isa in options.isa for dropout in options.dropout]:
                number = max((r.round + 1 for r in results if r.case == case), default=0)
                for result in play(bench, case, number, names):
                    results.append(result)
                    if options.json:
                        save_results(options.json, known, results)
    report(known, results)
    if options.json:
        save_results(options.json, known, results)


if __name__ == "__main__":
    main()
