"""The base model: from a local folder to a module on this machine's device."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from medlora.dataset.render import ChatTokenizer
from medlora.inference.decode import Decoder
from medlora.inference.packing import pack
from medlora.inference.protocol import BaseModel, RequestError
from medlora.inference.step import Step, find_step

_GIB = 2**30
# Beside the weights: activations, states of the conversation, the libraries themselves.
_HEADROOM = 1.15
_BYTES = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2}


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory, with the loop that decodes from it.

    digest: SHA-256 of its weight file (of all their digests where there are several). precision: that of
    the weights that write answers, in words.
    """

    model: Any
    base: BaseModel
    decoder: Decoder
    step: Step | None
    digest: str
    precision: str
    notices: tuple[str, ...]

    @property
    def context(self) -> int:
        """How many tokens the model was made for."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or 4096)


def choose_device() -> torch.device:
    """CUDA where there is one, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def gpu_dtype(device: torch.device) -> torch.dtype:
    """The half precision that a GPU computes in, as in training: bfloat16 where it has that itself.

    Why not where torch would imitate it: cards before Ampere are several times slower so than in float16.
    """
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def loads_four_bit(wanted: bool, device: torch.device) -> bool:
    """Whether a base is loaded in 4 bits: as training, not without bitsandbytes; here on a GPU only."""
    return wanted and device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def load_base(base: BaseModel, device: torch.device, *, reuse_prefix: bool = True) -> LoadedBase:
    """Load safetensors from the folder; remote code stays off and no network is asked.

    Raises: RequestError when the folder is no usable model or the memory does not suffice.
    """
    folder = Path(base.folder)
    try:
        dtype, notices = _choose_dtype(folder, device)
        with ThreadPoolExecutor(1) as pool:
            digest = pool.submit(hash_weights, folder)
            model = AutoModelForCausalLM.from_pretrained(folder, **_options(base, device, dtype))
            if device.type != "cuda":
                model = model.to(device)
            model.eval().requires_grad_(False)
            step = find_step(model)
            rounded = step is not None and pack(step, model, eight_bit=base.eight_bit)
            decoder = Decoder(model, step, reuse=reuse_prefix)
            precision = "8-bit" if rounded else _name_precision(base, device, dtype)
            return LoadedBase(model, base, decoder, step, digest.result(), precision, notices)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RequestError(
            f"model {base.name}: its files cannot be loaded ({type(error).__name__}); "
            "fetch the model again or choose another one"
        ) from error


def _name_precision(base: BaseModel, device: torch.device, dtype: torch.dtype) -> str:
    bits = 4 if loads_four_bit(base.four_bit, device) else 8 * _BYTES[dtype]
    return f"{bits}-bit"


def _options(base: BaseModel, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    options: dict[str, Any] = {
        "dtype": dtype,
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
    }
    if device.type == "cuda":
        options["device_map"] = {"": 0}
        if loads_four_bit(base.four_bit, device):
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
    return options


def hash_weights(folder: Path) -> str:
    """SHA-256 of the one weight file, or of the digests of several in the order of their names."""
    digests = []
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def find_stops(folder: Path, tokenizer: ChatTokenizer) -> frozenset[int]:
    """The tokens that end an answer: those the model names, and the one its template ends a turn with."""
    stops = {tokenizer.eos_id} if tokenizer.eos_id is not None else set()
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        stops |= set(value) if isinstance(value, list) else {value} if isinstance(value, int) else set()
    question = [{"role": "user", "content": "a"}]
    opened = tokenizer.render(question, add_generation_prompt=True)
    closed = tokenizer.render([*question, {"role": "assistant", "content": "b"}])
    ending = tokenizer.encode(closed[len(opened) + 1 :]) if closed.startswith(f"{opened}b") else []
    if ending and ending[0] in tokenizer.special_ids:
        stops.add(ending[0])
    return frozenset(stops)


def _choose_dtype(folder: Path, device: torch.device) -> tuple[torch.dtype, tuple[str, ...]]:
    """The precision to answer in: full on a CPU as long as it fits, half on a GPU.

    Why not half on a CPU: one token at a time it is no faster there, and its answers differ from training's.
    """
    if device.type != "cpu":
        return gpu_dtype(device), ()
    parameters = _count_parameters(folder)
    free = psutil.virtual_memory().available
    for dtype in (torch.float32, torch.bfloat16):
        if parameters * _BYTES[dtype] * _HEADROOM <= free:
            notice = "The model is loaded in half precision: the memory does not hold it in full."
            return dtype, (notice,) if dtype is not torch.float32 else ()
    raise RequestError(
        f"model: it needs {parameters * 2 * _HEADROOM / _GIB:.1f} GiB of memory (got {free / _GIB:.1f} GiB "
        "free); close other programs or choose a smaller model"
    )


def _count_parameters(folder: Path) -> int:
    """Numbers in the weight files, from their headers alone."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, path.stat().st_size)))
        for name, entry in header.items():
            if name != "__metadata__":
                total += _product(entry["shape"])
    return total


def _product(shape: list[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
