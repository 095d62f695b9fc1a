"""Whether answers stay as good: what smaller copies of the weights say of the sample dataset's answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.chat_sides import Medlora, load
from medlora.inference.decode import Opened

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample_patient_education.jsonl"
_RECORDS = 8
# Records that are read together; so many rows cost hardly more than one.
_TOGETHER = 8


@dataclass(frozen=True)
class Case:
    """A question as ids, and the answer that is expected."""

    prompt: list[int]
    answer: list[int]


def compare_quality(bench: Any) -> None:
    """Perplexity of the sample's answers, and how often the likeliest token is the whole model's."""
    cases = _read_cases(bench.tokenizer)
    expected = _read_whole(load(bench.folder, torch.float32), cases)
    found = {
        "transformers float32": expected,
        "transformers bfloat16": _read_whole(load(bench.folder, torch.bfloat16), cases).float(),
    }
    for name, eight_bit in (("medlora", False), ("medlora 8-bit", True)):
        found[name] = _read_stepwise(Medlora(bench.folder, eight_bit=eight_bit), cases)
    labels = torch.cat([torch.tensor(case.answer) for case in cases])
    notes = {}
    for name, logits in found.items():
        surprise = float(torch.nn.functional.cross_entropy(logits, labels))
        same = (logits.argmax(-1) == expected.argmax(-1)).double().mean()
        apart = torch.nn.functional.kl_div(
            logits.log_softmax(-1), expected.log_softmax(-1), reduction="batchmean", log_target=True
        )
        notes[name] = {
            "perplexity": round(float(torch.tensor(surprise).exp()), 4),
            "likeliest token the same, %": round(100 * float(same), 2),
            "divergence from float32, nats a token": float(f"{max(float(apart), 0.0):.2g}"),
        }
    bench.notes[f"quality, {len(labels)} tokens of answers"] = notes


def _read_cases(tokenizer: Any) -> list[Case]:
    cases = []
    for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:_RECORDS]:
        record = json.loads(line)
        prompt = tokenizer.encode_prompt([{"role": "user", "content": record["question"]}])
        cases.append(Case(prompt, tokenizer.encode(record["answer"])))
    return cases


@torch.inference_mode()
def _read_whole(model: Any, cases: list[Case]) -> torch.Tensor:
    """Logits before each token of the answers, by the library's own forward pass."""
    parts = []
    for case in cases:
        logits = model(input_ids=torch.tensor([case.prompt + case.answer])).logits[0]
        parts.append(logits[len(case.prompt) - 1 : -1])
    return torch.cat(parts)


def _read_stepwise(side: Medlora, cases: list[Case]) -> torch.Tensor:
    """The same by the decoding step, token by token, as an answer is written."""
    decoder, parts = side.ready.decoder, []
    for start in range(0, len(cases), _TOGETHER):
        some = cases[start : start + _TOGETHER]
        opened: list[Opened] = []
        for case in some:
            one = decoder.open(side.ready.identity, case.prompt, lambda: False)
            assert one is not None
            opened.append(one)
        kept = [[one.logits] for one in opened]
        for place in range(max(len(case.answer) for case in some) - 1):
            live = [number for number, case in enumerate(some) if place + 1 < len(case.answer)]
            tokens = [some[number].answer[place] for number in live]
            for number, logits in zip(live, decoder.advance([opened[n] for n in live], tokens), strict=True):
                kept[number].append(logits)
        parts += [torch.stack(logits) for logits in kept]
    return torch.cat(parts)
