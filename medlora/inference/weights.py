"""The weights in memory: one base model, and the adapters that were asked for on top of it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModelForCausalLM
from peft.utils.save_and_load import set_peft_model_state_dict

from medlora.dataset.render import ChatTokenizer
from medlora.errors import InternalError, UserError
from medlora.inference.adapter_files import AdapterWeights, read_adapter
from medlora.inference.base_model import LoadedBase, choose_device, find_stops, load_base
from medlora.inference.decode import Decoder, Identity
from medlora.inference.low_rank import Voice
from medlora.inference.protocol import AdapterFiles, BaseModel, Label, RequestError
from medlora.inference.voices import find_voice

Stage = Callable[[str], None]

_SLOW_MODEL = "Answers of this model are written at the usual speed: the faster way does not fit it."
_SLOW_ADAPTER = "Answers of this adapter are written at the usual speed: the faster way does not fit it."
_ADAPTERS_KEPT = 4
_SHORT = 12


@dataclass(frozen=True)
class Ready:
    """Weights that are in place for one answer, and what goes with them.

    identity: whose words the decoder speaks. notices: what loading had to do differently.
    """

    decoder: Decoder
    identity: Identity
    tokenizer: ChatTokenizer
    stops: frozenset[int]
    context: int
    label: Label
    vocabulary: int
    notices: tuple[str, ...] = ()


class Weights:
    """Loads, switches and frees weights; used by one thread.

    Why adapters are known by their content: a name may be published anew while an answer is asked for, and
    the label must tell which bytes spoke.
    """

    def __init__(self, *, reuse_prefix: bool = True) -> None:
        self.device = choose_device()
        self._reuse = reuse_prefix
        self._base: LoadedBase | None = None
        self._peft: Any = None
        self._spoiled = False
        self._recent: list[str] = []
        self._voices: dict[str, Voice | None] = {}

    def prepare(
        self,
        base: BaseModel,
        adapter: AdapterFiles | None,
        stage: Stage,
        release: Callable[[], None] = lambda: None,
    ) -> Ready:
        """Put these weights in place; `release` is called before the base in memory leaves it or is changed.

        Raises: RequestError when they cannot be; what was loaded is dropped then.
        """
        files = read_adapter(Path(adapter.folder)) if adapter else None
        key = files.key if files else ""
        fresh = self._base is None or self._base.base != base or self._must_reload(key, files)
        if fresh or (files and files.exclusive):
            release()
        if fresh:
            self.free()
            stage("loading_model")
            self._base = load_base(base, self.device, reuse_prefix=self._reuse)
        try:
            attached = self._activate(adapter, files, stage)
            return self._describe(adapter, files, fresh=fresh, attached=attached)
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        """Give the memory back."""
        self._base = self._peft = None
        self._spoiled = False
        self._recent.clear()
        self._voices.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _loaded(self) -> LoadedBase:
        if self._base is None:
            raise InternalError("chat: no base model is loaded")
        return self._base

    def _must_reload(self, key: str, files: AdapterWeights | None) -> bool:
        """An adapter that replaces weights of the base needs a fresh base before it and after it."""
        if self._spoiled:
            return key not in self._recent
        return bool(files and files.exclusive and self._recent)

    def _activate(self, adapter: AdapterFiles | None, files: AdapterWeights | None, stage: Stage) -> bool:
        """Switch to the adapter, or to none; whether it had to be added first."""
        if files is None or adapter is None:
            if self._peft is not None:
                self._peft.base_model.disable_adapter_layers()
            return False
        base = self._loaded()
        if files.base_hash and files.base_hash != base.digest:
            raise RequestError(
                f"adapter {adapter.name}: it was trained on other weights than this copy of {base.base.name} "
                "holds; choose the base model it was trained on"
            )
        new = files.key not in self._recent
        if new:
            stage("loading_adapter")
            self._attach(adapter.name, files)
            self._spoiled = files.exclusive
        else:
            self._recent.remove(files.key)
        self._recent.append(files.key)
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(files.key)
        self._peft.requires_grad_(False)
        if len(self._recent) > _ADAPTERS_KEPT:
            oldest = self._recent.pop(0)
            self._voices.pop(oldest, None)
            self._peft.delete_adapter(oldest)
        return new

    def _attach(self, name: str, files: AdapterWeights) -> None:
        """Add the adapter's layers and fill them, every tensor in its place."""
        base = self._loaded()
        options = {"low_cpu_mem_usage": True, "autocast_adapter_dtype": False}
        try:
            if self._peft is None:
                self._peft = PeftModelForCausalLM(base.model, files.config, adapter_name=files.key, **options)
            else:
                self._peft.add_adapter(files.key, files.config, **options)
            tensors = {key: self._placed(key, tensor) for key, tensor in files.tensors.items()}
            result = set_peft_model_state_dict(
                self._peft, tensors, adapter_name=files.key, low_cpu_mem_usage=True
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise RequestError(
                f"adapter {name}: it does not fit the model {base.base.name}; "
                "choose the base model it was trained on"
            ) from error
        absent = [key for key in result.missing_keys if files.key in key]
        if result.unexpected_keys or absent:
            raise RequestError(
                f"adapter {name}: its weights and its settings do not agree "
                f"({len(result.unexpected_keys)} too many, {len(absent)} missing); publish it again"
            )
        self._peft.eval()

    def _placed(self, key: str, tensor: torch.Tensor) -> torch.Tensor:
        """On the device; what takes the place of the base's own weights, in their precision too."""
        return tensor.to(self.device, tensor.dtype if "lora_" in key else self._loaded().model.dtype)

    def _describe(
        self, adapter: AdapterFiles | None, files: AdapterWeights | None, *, fresh: bool, attached: bool
    ) -> Ready:
        base = self._loaded()
        voice = self._find_voice(files)
        slow = (_SLOW_MODEL,) if fresh and base.step is None else ()
        if attached and base.step is not None and voice is None:
            slow = (_SLOW_ADAPTER,)
        tokenizer = _load_tokenizer(Path(base.base.folder), Path(adapter.folder) if adapter else None)
        digest = files.digest if files else base.digest
        stops = find_stops(Path(base.base.folder), tokenizer)
        name = adapter.name if adapter else None
        return Ready(
            decoder=base.decoder,
            identity=Identity(files.key if files else "", voice, stops),
            tokenizer=tokenizer,
            stops=stops,
            context=base.context,
            label=Label(base.base.name, name, digest[:_SHORT], base.precision),
            vocabulary=int(base.model.get_output_embeddings().weight.shape[0]),
            notices=(*base.notices, *slow),
        )

    def _find_voice(self, files: AdapterWeights | None) -> Voice | None:
        """The active adapter as a step adds it, if proved; None where only the whole model will do."""
        base = self._loaded()
        if files is None:
            return Voice() if not self._spoiled else None
        if base.step is None or files.exclusive:
            return None
        if files.key not in self._voices:
            voice = find_voice(self._peft, files.key, base.step)
            proved = voice is not None and base.step.agrees(base.model, voice)
            self._voices[files.key] = voice if proved else None
        return self._voices[files.key]


def _load_tokenizer(base: Path, adapter: Path | None) -> ChatTokenizer:
    """The adapter's own tokenizer and template where it brings them: it was trained with these."""
    brings_own = adapter is not None and (adapter / "tokenizer.json").is_file()
    try:
        return ChatTokenizer.load(adapter if adapter is not None and brings_own else base)
    except UserError as error:
        raise RequestError(str(error)) from error
