"""Fetching a model from the model hub: safetensors and tokenizer only, all of one commit.

`owner/model@<commit>` pins the commit; without it the newest one is taken and recorded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from medlora.errors import UserError
from medlora.models.files import ModelFiles, Progress, find_model, hub_cache, split_revision
from medlora.workspace import Workspace

_WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "*.jinja", "merges.txt")
_UNWANTED = ("original/*", "onnx/*", "*/*.safetensors")
_GB = 1e9
T = TypeVar("T")


def download_model(ws: Workspace, name: str, progress: Progress) -> ModelFiles:
    """The files of a Hub model, fetched into the Hub's own cache if they are not there.

    progress: called twice a second; an exception raised by it leaves the download behind, which goes
    on from there next time.
    Raises: UserError when there is no such model, it is gated, or the hub cannot be reached.
    """
    files = find_model(ws, name)
    if files is not None:
        return files
    if name.count("/") != 1 or Path(name).is_absolute():
        raise UserError(
            f"model: base_model_name: there is no model of this name here (got {name!r}); "
            "name the starter, a Hub id (owner/model) or a folder with config.json and safetensors"
        )
    total = _in_words(name, lambda: _size_bytes(name))
    _fetch(name, total, progress)
    files = find_model(ws, name)
    if files is None:
        raise UserError(
            f"model: {name}: it has no safetensors weights with a tokenizer.json; choose a model that has"
        )
    return files


def _size_bytes(name: str) -> int:
    from huggingface_hub import HfApi

    model, revision = split_revision(name)
    siblings = HfApi().model_info(model, revision=revision, files_metadata=True).siblings or []
    return sum(
        sibling.size or 0
        for sibling in siblings
        if any(fnmatch(sibling.rfilename, pattern) for pattern in _WANTED)
        and not any(fnmatch(sibling.rfilename, pattern) for pattern in _UNWANTED)
    )


def _fetch(name: str, total: int, progress: Progress) -> None:
    """Download in a thread and tell from here how much of it lies there."""
    failures: list[BaseException] = []
    model, revision = split_revision(name)

    def download() -> None:
        from huggingface_hub import snapshot_download

        try:
            _in_words(
                name,
                lambda: snapshot_download(
                    model,
                    revision=revision,
                    allow_patterns=list(_WANTED),
                    ignore_patterns=list(_UNWANTED),
                    max_workers=4,
                ),
            )
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=download, name="model-download", daemon=True)
    thread.start()
    while thread.is_alive():
        done = min(_fetched_bytes(name), total)
        words = f"Fetching {name}: {done / _GB:.2f} of {total / _GB:.2f} GB"
        progress(words, done / total if total else None)
        thread.join(0.5)
    if failures:
        raise failures[0]


def _fetched_bytes(name: str) -> int:
    blobs = hub_cache() / f"models--{split_revision(name)[0].replace('/', '--')}" / "blobs"
    total = 0
    for path in blobs.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def _in_words(name: str, act: Callable[[], T]) -> T:
    """The result, or what went wrong in words a user can act on."""
    from huggingface_hub import errors

    token = "set HF_TOKEN to a token of your account" + (
        " that may read it (the present one may not)" if os.environ.get("HF_TOKEN") else ""
    )
    try:
        return act()
    except errors.GatedRepoError as error:
        raise UserError(
            f"model: {name}: access is granted on request; accept its terms on its page, then {token} "
            "and start medlora again"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"model: {name}: the hub has no such model, or it is private; correct the name, or {token}"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(
            f"model: {name}: it is not on this machine, and HF_HUB_OFFLINE forbids fetching it"
        ) from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise UserError(
            f"model: {name}: the model hub cannot be reached ({type(error).__name__}); check the network, "
            "or use the starter model or a local folder"
        ) from error
