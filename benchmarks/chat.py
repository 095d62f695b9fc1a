"""Chat against plain `transformers.generate`, interleaved, on the same weights.

    python -m benchmarks.chat [--model FOLDER] [--rounds 3] [--threads 1]

The peer is installed with medlora itself (transformers). Without --model the prepared starter model is used.
Every round asks each side in turn; the output holds every round and the medians, since only ratios of
interleaved runs mean anything on a shared machine.

Measured: tokens per second after the first one; seconds to the first token of a second question under a
long system prompt, with and without the memory of the first; whether greedy answers agree, token by token.
int8 is the reason why weights stay whole on a CPU: it decodes faster, but its greedy answers differ.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medlora.dataset.render import ChatTokenizer
from medlora.inference.decode import Decoder
from medlora.inference.protocol import Sampling
from medlora.inference.sampling import Sampler
from medlora.models.files import find_model
from medlora.workspace import Workspace

QUESTIONS = (
    "What are the symptoms of iron deficiency anaemia?",
    "How is asthma treated?",
    "Explain type 2 diabetes in simple words.",
    "What should I ask before an operation?",
)
POLICY = "You are a careful medical assistant. " + (
    "Be clear, say what is uncertain, never invent a dose, and name when to see a clinician. " * 25
)
CPU = torch.device("cpu")


@dataclass
class Side:
    """One way to answer, and what was measured of it."""

    name: str
    answer: Callable[[list[int], int], list[int]]
    rates: list[float] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)


class PackedLinear(torch.nn.Module):
    """A linear layer with int8 weights, one scale a row."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_min(1e-8) / 127
        self.weight = torch.nn.Parameter(
            (weight / scale[:, None]).round().to(torch.int8), requires_grad=False
        )
        self.scale = scale.to(torch.bfloat16)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16)
        packed = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        return packed.view(*inputs.shape[:-1], -1).to(inputs.dtype)


def pack(model: Any) -> Any:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(module, name, PackedLinear(child))
    return model


def load(folder: Path, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)


def by_generate(model: Any) -> Callable[[list[int], int], list[int]]:
    # Both sides go on past the end of an answer, so that they decode the same number of tokens.
    model.generation_config.eos_token_id = None

    def answer(ids: list[int], count: int) -> list[int]:
        prompt = torch.tensor([ids])
        settings = {"max_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        with torch.inference_mode():
            made = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
        return list(made[0, len(ids) :].tolist())

    return answer


def by_medlora(decoder: Decoder) -> Callable[[list[int], int], list[int]]:
    def answer(ids: list[int], count: int) -> list[int]:
        sampler = Sampler(Sampling(), ids, decoder._model.config.vocab_size, CPU)
        tokens = decoder.tokens("w", ids, sampler, lambda: False)
        made = list(islice(tokens, count))
        tokens.close()
        return made

    return answer


def measure_rates(sides: list[Side], prompts: list[list[int]], rounds: int, count: int) -> None:
    """Tokens a second after the first: the time of a long answer less that of a one-token answer."""
    for side in sides:
        side.answer(prompts[0], 4)
    for number in range(rounds):
        for ids in prompts:
            for side in sides:
                began = time.perf_counter()
                side.answer(ids, 1)
                first = time.perf_counter()
                made = side.answer(ids, count)
                ended = time.perf_counter()
                side.rates.append((count - 1) / max((ended - first) - (first - began), 1e-9))
                if number == 0:
                    side.answers.append(made)


def measure_first_token(model: Any, tokenizer: ChatTokenizer, rounds: int) -> dict[str, Any]:
    """Seconds to the first token of a second question, in the same conversation's system prompt."""

    def prompt(question: str) -> list[int]:
        return tokenizer.encode_prompt(
            [{"role": "system", "content": POLICY}, {"role": "user", "content": question}]
        )

    plain, warm = by_generate(model), by_medlora(Decoder(model))
    warm(prompt("Hello."), 1)
    times: dict[str, list[float]] = {"generate": [], "medlora": []}
    for _ in range(rounds):
        for question in QUESTIONS:
            ids = prompt(question)
            for name, answer in (("generate", plain), ("medlora", warm)):
                began = time.perf_counter()
                answer(ids, 1)
                times[name].append(round(time.perf_counter() - began, 4))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "prompt_tokens": len(prompt(QUESTIONS[0])),
        "seconds": times,
        "median_s": medians,
        "ratio": round(medians["generate"] / medians["medlora"], 2),
    }


def first_difference(one: list[int], other: list[int]) -> int | None:
    pairs = zip(one, other, strict=True)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder; the prepared starter model without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    files = None if options.model else find_model(Workspace.open(), "starter")
    folder = options.model or (files.path if files else None)
    if folder is None:
        raise SystemExit("benchmark: the starter model is not prepared; start a chat once, or give --model")
    tokenizer = ChatTokenizer.load(folder)
    prompts = [tokenizer.encode_prompt([{"role": "user", "content": question}]) for question in QUESTIONS]
    full, half = load(folder, torch.float32), load(folder, torch.bfloat16)
    sides = [
        Side("generate fp32", by_generate(full)),
        Side("generate bf16", by_generate(half)),
        Side("medlora fp32", by_medlora(Decoder(full))),
        Side("medlora int8", by_medlora(Decoder(pack(load(folder, torch.bfloat16))))),
    ]
    measure_rates(sides, prompts, options.rounds, options.tokens)
    reference = sides[0].answers
    report = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": options.threads,
        "decode": {
            side.name: {
                "tokens_per_second": [round(rate, 1) for rate in side.rates],
                "median": round(statistics.median(side.rates), 1),
                "first_difference_from_generate_fp32": [
                    first_difference(made, expected)
                    for made, expected in zip(side.answers, reference, strict=True)
                ],
            }
            for side in sides
        },
        "second_question_under_a_long_system_prompt": measure_first_token(full, tokenizer, options.rounds),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
