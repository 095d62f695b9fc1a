"""The ways to answer that benchmarks/chat.py compares; each takes token ids and gives token ids and times."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from medlora.inference.decode import Opened
from medlora.inference.protocol import AdapterFiles, BaseModel, Sampling
from medlora.inference.sampling import Sampler
from medlora.inference.weights import Ready, Weights

CPU = torch.device("cpu")


class Clock:
    """Seconds on the wall, or of this process's own work: the latter where others use the machine too."""

    def __init__(self) -> None:
        self.now = time.perf_counter

    def count_work(self) -> None:
        self.now = time.process_time


CLOCK = Clock()


@dataclass(frozen=True)
class Timed:
    """One answer. first_s: from the question to its first token; rest_s: from there to its last."""

    tokens: list[int]
    first_s: float
    rest_s: float

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (len(self.tokens) - 1) / self.rest_s


class Side(Protocol):
    """One way to answer. fresh: as if nothing had been asked before."""

    def answer(self, ids: list[int], count: int, *, fresh: bool = True) -> Timed: ...


class Generate:
    """Plain `transformers.generate`, going on past the end of an answer so that all write as many tokens."""

    def __init__(self, model: Any) -> None:
        self.model = model
        model.generation_config.eos_token_id = None

    def answer(self, ids: list[int], count: int, *, fresh: bool = True) -> Timed:
        prompt, clock = torch.tensor([ids]), _FirstToken()
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
                streamer=clock,
            )
        ended = CLOCK.now()
        return Timed(made[0, len(ids) :].tolist(), clock.first_s, ended - clock.began - clock.first_s)


class _FirstToken:
    """Told of the prompt first, then of each token."""

    def __init__(self) -> None:
        self.began = CLOCK.now()
        self.first_s = 0.0
        self._count = 0

    def put(self, value: Any) -> None:
        self._count += 1
        if self._count == 2:
            self.first_s = CLOCK.now() - self.began

    def end(self) -> None:
        """Nothing is held back."""


class Medlora:
    """The chat process's own loop, without the process, the safety layer and the page."""

    def __init__(self, folder: Path, *, eight_bit: bool = False) -> None:
        self.weights = Weights()
        self._base = BaseModel("benchmark", str(folder), eight_bit=eight_bit)
        self.ready = self.switch(None)

    def switch(self, adapter: Path | None) -> Ready:
        """Put an adapter's weights in place, or the base's."""
        files = AdapterFiles(adapter.name, str(adapter)) if adapter else None
        self.ready = self.weights.prepare(self._base, files, lambda stage: None)
        return self.ready

    def answer(self, ids: list[int], count: int, *, fresh: bool = True) -> Timed:
        if fresh:
            self.ready.decoder.forget()
        began = CLOCK.now()
        (opened,) = self._open([(self.ready, ids)])
        return self._grow([self.ready], [opened], count, began)[0]

    def read_ahead(self, ids: list[int]) -> None:
        """What the chat process does in idle time."""
        self.ready.decoder.read_ahead(self.ready.identity, ids, lambda: False)

    def together(self, adapters: Sequence[Path | None], ids: list[int], count: int) -> list[Timed]:
        """All answer the same question, growing together."""
        self.ready.decoder.forget()
        began = CLOCK.now()
        readies, opened = [], []
        for adapter in adapters:
            readies.append(self.switch(adapter))
            opened += self._open([(self.ready, ids)])
        return self._grow(readies, opened, count, began)

    def _open(self, asked: Sequence[tuple[Ready, list[int]]]) -> list[Opened]:
        found = [ready.decoder.open(ready.identity, ids, lambda: False) for ready, ids in asked]
        return [each for each in found if each is not None]

    def _grow(self, readies: list[Ready], opened: list[Opened], count: int, began: float) -> list[Timed]:
        samplers = [Sampler(Sampling(), each.prompt, readies[0].vocabulary, CPU) for each in opened]
        logits: Sequence[torch.Tensor] = [each.logits for each in opened]
        said: list[list[int]] = [[] for _ in opened]
        first = began
        for number in range(count):
            if number:
                logits = readies[0].decoder.advance(opened, [tokens[-1] for tokens in said])
            for tokens, sampler, scores in zip(said, samplers, logits, strict=True):
                tokens.append(sampler.choose(scores))
            first = first if number else CLOCK.now()
        ended = CLOCK.now()
        for ready, each in zip(readies, opened, strict=True):
            ready.decoder.close(each)
        return [Timed(tokens, first - began, ended - first) for tokens in said]


class LlamaCpp:
    """llama.cpp in a process and an environment of its own, on a GGUF file of the same weights."""

    def __init__(self, python: Path, folder: Path, form: str, threads: int) -> None:
        self._room = tempfile.TemporaryDirectory()
        out = Path(self._room.name) / "model.gguf"
        script = Path(__file__).parent / "peers" / "llama_cpp_worker.py"
        self._process = subprocess.Popen(
            [str(python), str(script), str(folder), str(out), form, str(threads), CLOCK.now.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self._hear()["version"]

    def answer(self, ids: list[int], count: int, *, fresh: bool = True) -> Timed:
        assert self._process.stdin is not None
        request = {"ids": ids, "count": count, "fresh": fresh}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Timed(**self._hear())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._room.cleanup()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("benchmark: the llama.cpp process ended; run its script by hand to see why")
        heard: dict[str, Any] = json.loads(line)
        return heard


def load(folder: Path, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)


def load_adapted(folder: Path, adapter: Path) -> Any:
    return PeftModel.from_pretrained(load(folder, torch.float32), adapter).eval()


def make_adapter(folder: Path, out: Path) -> Path:
    """A random adapter of rank 16 on all linear layers, small enough to leave words in the answers."""
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(load(folder, torch.float32), config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.mul_(0.02)
    adapted.save_pretrained(out)
    return out


def save_merged(model: Any, base: Path, out: Path) -> Path:
    """A model with its adapter merged, as a folder that medlora can load: nothing of the sum is rounded."""
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base / name).is_file():
            shutil.copy(base / name, out / name)
    return out


def clock(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = CLOCK.now()
    work()
    return CLOCK.now() - began
