"""The two that are compared: a base model, and an adapter on the very same copy of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModelForCausalLM
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from medlora.dataset.render import ChatTokenizer
from medlora.errors import UserError
from medlora.inference.adapter_files import read_adapter
from medlora.inference.base_model import (
    choose_device,
    find_stops,
    gpu_dtype,
    hash_weights,
    loads_four_bit,
)
from medlora.inference.protocol import RequestError

BASE, ADAPTER = "base", "adapter"
SPEAKERS = (BASE, ADAPTER)


@dataclass(frozen=True)
class Speakers:
    """digest: SHA-256 of the adapter's weights, so that figures cannot be taken for another's.

    replaced: parameters of the base that the adapter replaces, each with the base's own values.
    """

    model: Any
    tokenizer: ChatTokenizer
    stops: frozenset[int]
    digest: str
    replaced: tuple[tuple[torch.nn.Parameter, torch.Tensor], ...] = ()

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @contextmanager
    def speaking(self, name: str) -> Iterator[Any]:
        """The model with the adapter at work or out of the way."""
        if name == ADAPTER:
            yield self.model
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Careful, disabling adapter layers with bias")
                with self.model.disable_adapter(), self._base_values():
                    yield self.model

    @contextmanager
    def _base_values(self) -> Iterator[None]:
        """The base's own values in their place. Why: PEFT leaves trained biases in when an adapter is off."""
        trained = [(place, place.detach().clone()) for place, _ in self.replaced]
        try:
            for place, value in self.replaced:
                place.data.copy_(value)
            yield
        finally:
            for place, value in trained:
                place.data.copy_(value)


def load_speakers(base_folder: Path, adapter_folder: Path, *, four_bit: bool) -> Speakers:
    """Load both onto this machine's device; no network, no remote code, safetensors alone.

    Raises: UserError when the files cannot be used or belong to different models.
    """
    tokenizer, digest = check_pair(base_folder, adapter_folder)
    device = choose_device()
    base = AutoModelForCausalLM.from_pretrained(base_folder, **_options(device, four_bit))
    if device.type != "cuda":
        base = base.to(device)
    own = [
        (place, place.detach().clone()) for name, place in base.named_parameters() if name.endswith("bias")
    ]
    model = PeftModelForCausalLM.from_pretrained(base, str(adapter_folder), autocast_adapter_dtype=False)
    model.eval().requires_grad_(False)
    replaced = tuple((place, value) for place, value in own if not torch.equal(place, value))
    return Speakers(model, tokenizer, find_stops(base_folder, tokenizer), digest, replaced)


def check_pair(base_folder: Path, adapter_folder: Path) -> tuple[ChatTokenizer, str]:
    """The tokenizer the adapter speaks with and its weights' digest, once it is sure that it fits its base.

    Raises: UserError when the files cannot be used or belong to different models.
    """
    try:
        files = read_adapter(adapter_folder)
    except RequestError as error:
        raise UserError(str(error)) from error
    if files.base_hash and files.base_hash != hash_weights(base_folder):
        raise UserError(
            f"adapter {adapter_folder.name}: it was trained on other weights than the base model on this "
            "machine; fetch the revision that its provenance names"
        )
    brings_own = (adapter_folder / "tokenizer.json").is_file()
    return ChatTokenizer.load(adapter_folder if brings_own else base_folder), files.digest


def _options(device: torch.device, four_bit: bool) -> dict[str, Any]:
    """Full precision on a CPU, where the figures then equal training's; half on a GPU."""
    dtype = torch.float32 if device.type == "cpu" else gpu_dtype(device)
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    if device.type == "cuda":
        options["device_map"] = {"": 0}
        if loads_four_bit(four_bit, device):
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
    return options
