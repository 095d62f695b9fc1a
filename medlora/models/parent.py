"""An adapter that a run begins with, instead of with fresh weights: what it is and whether it fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.models.architecture import ArchitectureFacts, fit_target_modules
from medlora.models.files import split_revision
from medlora.models.weight_hash import hash_file
from medlora.workspace import Workspace

WEIGHTS = "adapter_model.safetensors"
KEY = "lora.from_adapter"
# What makes up an adapter's shape, by its setting's name; PEFT writes it under the same one.
_SHAPE = ("r", "lora_alpha", "bias", "use_rslora", "use_dora", "modules_to_save", "layers_to_transform")
_EMPTY = {"modules_to_save": [], "bias": "none", "use_rslora": False, "use_dora": False}


@dataclass(frozen=True)
class Parent:
    """An adapter of the library. settings: PEFT's own; facts: its provenance, empty when it has none."""

    name: str
    path: Path
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def base_model(self) -> str:
        told = self.facts.get("base_model", {}).get("name") or self.settings.get("base_model_name_or_path")
        return str(told or "")

    def shape(self, name: str) -> Any:
        """The value of a setting that its weights were made with."""
        value = self.settings.get(name)
        return _EMPTY.get(name) if value is None else value

    def record(self) -> dict[str, Any]:
        """What a run keeps of it: enough to know it again, and all the datasets it has learned from."""
        earlier = self.facts.get("parent") or {}
        own = {key: self.facts.get("dataset", {}).get(key) for key in ("name", "sha256")}
        return {
            "name": self.name,
            "run_id": self.facts.get("run_id"),
            "weights_sha256": hash_file(self.path / WEIGHTS),
            "datasets": [own, *earlier.get("datasets", [])],
        }


def read_parent(ws: Workspace, name: str) -> Parent:
    """The adapter of that name.

    Raises: UserError when there is none, or its files cannot be read.
    """
    folder = ws.adapter(name)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{KEY}: there is no adapter of this name (got {name}); `adapters list` names them")
    try:
        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        provenance = folder / "provenance.json"
        facts = json.loads(provenance.read_text(encoding="utf-8")) if provenance.is_file() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{KEY}: {name} cannot be read ({type(error).__name__}); import it again") from error
    return Parent(name, folder, settings, facts)


def shape_sets(parent: Parent) -> tuple[str, ...]:
    """The `key=value` with which a configuration begins with this adapter and has its shape."""
    pairs: list[tuple[str, Any]] = [("from_adapter", parent.name), ("target_modules", _modules(parent))]
    pairs += [(name, value) for name in _SHAPE if (value := parent.shape(name)) is not None]
    return tuple(
        f"lora.{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in pairs
    )


def find_mismatches(
    parent: Parent, base_model: str, lora: Mapping[str, Any], facts: ArchitectureFacts | None
) -> Iterator[str]:
    """Every reason why a run on this base model cannot begin with that adapter, in words.

    lora: that section of the run's configuration. facts: of the base model; before it is here they are None,
    and the modules are compared later.
    """
    base = split_revision(base_model)[0]
    if split_revision(parent.base_model)[0] != base:
        yield (
            f"{KEY}: {parent.name} sits on the base model {parent.base_model or 'unknown'} "
            f"(got {base}); choose that one as model.base_model_name"
        )
        return
    for name in _SHAPE:
        wanted, had = lora[name], parent.shape(name)
        if wanted != had:
            yield (
                f"lora.{name}: {parent.name} was made with {json.dumps(had)} (got {json.dumps(wanted)}); "
                "what goes on from an adapter keeps its shape, so write the same"
            )
    if facts is None:
        return
    modules, _, _ = fit_target_modules(lora["target_modules"], facts)
    if set(modules) != set(_modules(parent)):
        yield (
            f"lora.target_modules: {parent.name} sits on {', '.join(_modules(parent))} "
            f"(got {', '.join(sorted(modules))}); write the same"
        )


def _modules(parent: Parent) -> list[str]:
    found = parent.settings.get("target_modules") or []
    return sorted(found) if isinstance(found, list) else [str(found)]
