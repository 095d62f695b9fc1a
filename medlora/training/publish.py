"""An adapter is made from a whole checkpoint and appears whole, by one rename."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medlora.models.files import ModelFiles
from medlora.models.weight_hash import hash_file
from medlora.runs.replaced import bring_near, flush_files, own_adapter, put_back, replace_adapter
from medlora.runs.store import free_adapter_name
from medlora.training.card import write_card
from medlora.workspace import RunPaths, Workspace, make_private, write_json

WEIGHTS = "adapter_model.safetensors"
_ADAPTER_FILES = (WEIGHTS, "adapter_config.json")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Publication:
    """What there is to say about an adapter beside its weights; `facts` becomes provenance.json.

    earlier: the name under which this run published before it went on.
    """

    name: str
    facts: dict[str, Any]
    earlier: str | None = None


def publish_adapter(
    ws: Workspace, run: RunPaths, checkpoint: Path, model: ModelFiles, publication: Publication
) -> str:
    """Put the adapter of a checkpoint into the library; the name it got there.

    A run that published before it went on replaces its own adapter, unless that one is gone.
    Why from the checkpoint: a process that died between the last step and here publishes the same bytes.
    """
    shutil.rmtree(run.staging, ignore_errors=True)
    staging = make_private(run.staging)
    for name in _ADAPTER_FILES:
        shutil.copyfile(checkpoint / name, staging / name)
    for name in _TOKENIZER_FILES:
        if (model.path / name).is_file():
            shutil.copyfile(model.path / name, staging / name)
    digest = hash_file(staging / WEIGHTS)
    put_back(ws, run)
    candidates = (publication.earlier, publication.name)
    again = next((name for name in candidates if name and own_adapter(ws, run, name)), None)
    name = again or free_adapter_name(ws, publication.name)
    facts = {"adapter": name, "created": _now(), **publication.facts, "weights_sha256": digest}
    write_json(staging / "provenance.json", facts)
    write_json(staging / "medlora.json", _settings(facts, digest))
    write_card(staging / "README.md", facts, json.loads((staging / _ADAPTER_FILES[1]).read_text("utf-8")))
    flush_files(staging)
    incoming = bring_near(ws, run)
    if again is not None:
        try:
            replace_adapter(ws, run, incoming, again)
            return again
        except OSError:
            name = free_adapter_name(ws, publication.name)
    while True:
        try:
            incoming.rename(ws.adapter(name))
            return name
        except OSError:
            if not ws.adapter(name).exists():
                raise
            name = free_adapter_name(ws, publication.name)


def _settings(facts: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """What the chat takes over from the run, in a small file of its own."""
    config = facts["config"]
    return {
        "base_model": facts["base_model"]["name"],
        "weights": digest[:12],
        "safety": config["safety"],
        "inference": config["inference"],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
