"""Chat against plain `transformers.generate`, PEFT and llama.cpp, interleaved, on the same weights.

    python -m benchmarks.chat [--model FOLDER] [--rounds 3] [--threads 1] [--json FILE]
                              [--work] [--llama-cpp-python PYTHON] [--only SECTION,SECTION]

transformers and PEFT are installed with medlora itself. llama.cpp needs an environment of its own (see
benchmarks/peers/llama_cpp_worker.py); without --llama-cpp-python it is left out. Without --model the prepared
starter model is used. All go on past the end of an answer, so that each writes as many tokens.

- decode: tokens a second after the first one.
- first: seconds to the first token with a long system prompt: when all is new, when the system prompt was
  read before, and for the second question of a conversation.
- adapter: tokens a second with an adapter beside the base or merged into it, and seconds to change it. Merged
  weights are float32 numbers that 16 bits do not hold, so medlora reads twice as many bytes of them.
- together: base and adapter answer one question; tokens a second of both.
- stop: seconds from Stop to the end of an answer, in the real chat process.
- quality: what medlora's smaller copies of the weights change on the answers of the sample dataset.

Every round asks each side in turn; medians are shown, and every round is in the JSON, since only ratios of
interleaved runs mean anything on a shared machine. --work counts the processor's seconds instead, for a
machine that others use at the same time (with one thread; Stop is always measured on the wall).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.chat_quality import compare_quality
from benchmarks.chat_sides import (
    CLOCK,
    Generate,
    LlamaCpp,
    Medlora,
    Side,
    clock,
    load,
    load_adapted,
    make_adapter,
    save_merged,
)
from benchmarks.chat_stop import measure_stop
from medlora.dataset.render import ChatTokenizer
from medlora.models.files import find_model
from medlora.workspace import Workspace

QUESTIONS = ("How is asthma treated?", "Explain type 2 diabetes in simple words.")
POLICY = "You are a careful medical assistant. " + (
    "Be clear, say what is uncertain, never invent a dose, and name when to see a clinician. " * 25
)
SECTIONS = ("decode", "first", "adapter", "together", "stop", "quality")


@dataclass
class Bench:
    """What all sections share. figures: what was measured, then side, then every round's value."""

    folder: Path
    tokenizer: ChatTokenizer
    rounds: int
    tokens: int
    peers: dict[str, LlamaCpp]
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def prompt(self, *turns: str, system: str = "") -> list[int]:
        """User and assistant in turn."""
        messages = [{"role": "system", "content": system}] if system else []
        for number, text in enumerate(turns):
            messages.append({"role": ("user", "assistant")[number % 2], "content": text})
        return self.tokenizer.encode_prompt(messages)

    def note(self, what: str, side: str, value: float) -> None:
        self.figures.setdefault(what, {}).setdefault(side, []).append(value)


def measure_decode(bench: Bench) -> None:
    sides: dict[str, Side] = {
        "transformers fp32": Generate(load(bench.folder, torch.float32)),
        "transformers bf16": Generate(load(bench.folder, torch.bfloat16)),
        "medlora": Medlora(bench.folder),
        "medlora 8-bit": Medlora(bench.folder, eight_bit=True),
        **bench.peers,
    }
    answers: dict[str, list[int]] = {}
    for number in range(bench.rounds):
        for question in QUESTIONS:
            for name, side in sides.items():
                made = side.answer(bench.prompt(question), bench.tokens)
                bench.note("decode, tokens a second", name, made.rate)
                if not number:
                    answers[name] = answers.get(name, []) + made.tokens
    expected = answers["transformers fp32"]
    bench.notes["tokens equal to transformers fp32"] = {
        name: f"{sum(a == b for a, b in zip(made, expected, strict=True))} of {len(expected)}"
        for name, made in answers.items()
    }


def measure_first(bench: Bench) -> None:
    ours = Medlora(bench.folder)
    sides: dict[str, Side] = {
        "transformers fp32": Generate(load(bench.folder, torch.float32)),
        "transformers bf16": Generate(load(bench.folder, torch.bfloat16)),
        "medlora": ours,
        **bench.peers,
    }
    one, two = (bench.prompt(question, system=POLICY) for question in QUESTIONS)
    bench.notes["prompt tokens of the first questions"] = [len(one), len(two)]
    for _ in range(bench.rounds):
        for name, side in sides.items():
            bench.note("first token, all new, s", name, side.answer(one, 1).first_s)
            side.answer(one, 1)
            known = side.answer(two, 40, fresh=False)
            bench.note("first token, system prompt known, s", name, known.first_s)
            if side is ours:
                ours.read_ahead([*two, *known.tokens, bench.tokenizer.eos_id or 0])
            said = bench.tokenizer.decode(known.tokens)
            further = bench.prompt(QUESTIONS[1], said, QUESTIONS[0], system=POLICY)
            bench.note("first token, second turn, s", name, side.answer(further, 1, fresh=False).first_s)


def measure_adapter(bench: Bench, adapter: Path) -> None:
    ours, plain = Medlora(bench.folder), load_adapted(bench.folder, adapter)
    merged = Generate(load_adapted(bench.folder, adapter).merge_and_unload())
    joined = Medlora(save_merged(merged.model, bench.folder, adapter.with_name("merged")))
    what = "with an adapter, tokens a second"
    for _ in range(bench.rounds):
        for question in QUESTIONS:
            ids = bench.prompt(question)
            bench.note(what, "PEFT", Generate(plain).answer(ids, bench.tokens).rate)
            bench.note(what, "PEFT, merged", merged.answer(ids, bench.tokens).rate)
            bench.note(what, "medlora, merged", joined.answer(ids, bench.tokens).rate)
            bench.note("without it again, tokens a second", "medlora", ours.answer(ids, bench.tokens).rate)
            bench.note("change of the adapter, s", "medlora", clock(lambda: ours.switch(adapter)))
            bench.note(what, "medlora", ours.answer(ids, bench.tokens).rate)
            ours.switch(None)
        bench.note("change of the adapter, s", "PEFT, loaded anew", clock(_reload(plain, adapter)))


def _reload(plain: Any, adapter: Path) -> Callable[[], object]:
    def work() -> None:
        plain.load_adapter(adapter, adapter_name="again")
        plain.set_adapter("again")
        plain.set_adapter("default")
        plain.delete_adapter("again")

    return work


def measure_together(bench: Bench, adapter: Path) -> None:
    ours, plain = Medlora(bench.folder), load_adapted(bench.folder, adapter)
    answers: dict[str, list[list[int]]] = {}
    speakers = (None, adapter)
    what = "base and adapter answer one question, tokens a second of both"
    for _ in range(bench.rounds):
        for question in QUESTIONS:
            ids = bench.prompt(question)
            with plain.disable_adapter():
                made = [Generate(plain).answer(ids, bench.tokens)]
            made.append(Generate(plain).answer(ids, bench.tokens))
            answers["PEFT"] = [each.tokens for each in made]
            bench.note(
                what,
                "PEFT, one after another",
                _pace(sum(each.first_s + each.rest_s for each in made), bench),
            )
            made, spent = [], 0.0
            for speaker in speakers:
                spent += clock(lambda speaker=speaker: ours.switch(speaker))
                made.append(ours.answer(ids, bench.tokens))
                spent += made[-1].first_s + made[-1].rest_s
            bench.note(what, "medlora, one after another", _pace(spent, bench))
            both = ours.together(speakers, ids, bench.tokens)
            bench.note(what, "medlora, side by side", _pace(both[0].first_s + both[0].rest_s, bench))
            answers["medlora"] = [each.tokens for each in both]
    bench.notes["side by side"] = {
        "tokens equal to medlora's own, one after another": answers["medlora"]
        == [each.tokens for each in made],
        "tokens equal to PEFT's": answers["medlora"] == answers["PEFT"],
    }


def _pace(seconds: float, bench: Bench) -> float:
    return 2 * bench.tokens / seconds


def describe(bench: Bench, threads: int) -> dict[str, Any]:
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    versions |= {name: peer.version for name, peer in bench.peers.items()}
    return {
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {threads} threads",
        "seconds": "of the processor" if CLOCK.now is time.process_time else "on the wall",
        "versions": versions,
        "rounds": bench.rounds,
        "figures": {
            what: {
                side: {"median": statistics.median(values), "all": [round(value, 4) for value in values]}
                for side, values in sides.items()
            }
            for what, sides in bench.figures.items()
        },
        "notes": bench.notes,
    }


def draw(report: dict[str, Any]) -> str:
    """The medians as Markdown tables."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"{report['machine']}; seconds {report['seconds']}; {versions}; medians of {report['rounds']} rounds"
    ]
    for what, sides in report["figures"].items():
        lines += ["", f"| {what} | |", "|---|---|"]
        for side, values in sides.items():
            median = values["median"]
            lines.append(f"| {side} | {median:.1f} |" if median >= 5 else f"| {side} | {median:.3f} |")
    lines += ["", *(f"{what}: {json.dumps(value)}" for what, value in report["notes"].items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder; the prepared starter model without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--work", action="store_true", help="count seconds of work instead of the wall's")
    parser.add_argument("--llama-cpp-python", type=Path, help="a Python that has llama-cpp-python and gguf")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--json", type=Path, help="write every figure there too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.work:
        CLOCK.count_work()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    files = None if options.model else find_model(Workspace.open(), "starter")
    folder = options.model or (files.path if files else None)
    if folder is None:
        raise SystemExit("benchmark: the starter model is not prepared; start a chat once, or give --model")
    python, threads, only = options.llama_cpp_python, options.threads, options.only.split(",")
    forms = ("Q4_1", "F16") if python and {"decode", "first"} & set(only) else ()
    peers = {f"llama.cpp {form}": LlamaCpp(python, folder, form, threads) for form in forms}
    bench = Bench(folder, ChatTokenizer.load(folder), options.rounds, options.tokens, peers)
    with tempfile.TemporaryDirectory() as room:
        adapter = make_adapter(folder, Path(room) / "adapter")
        work: dict[str, Callable[[], object]] = {
            "decode": lambda: measure_decode(bench),
            "first": lambda: measure_first(bench),
            "adapter": lambda: measure_adapter(bench, adapter),
            "together": lambda: measure_together(bench, adapter),
            "stop": lambda: measure_stop(bench, threads),
            "quality": lambda: compare_quality(bench),
        }
        for section in only:
            work[section]()
            if options.json:
                report = json.dumps(describe(bench, threads), indent=2)
                options.json.write_text(report + "\n", encoding="utf-8")
    for peer in peers.values():
        peer.close()
    sys.stdout.write(draw(describe(bench, threads)))


if __name__ == "__main__":
    main()
