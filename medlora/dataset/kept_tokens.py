"""Tokenised rows kept between runs, in `.medlora/cache/tokens/`.

Why: reading, rendering and encoding a large dataset takes longer than many short runs' first steps, and a
resumed, repeated or changed run needs the very same rows again.
Why so private: token ids are the text in another spelling, so these files are kept, deleted and aged like
the dataset itself. They hold no clear text, and their names tell nothing but hashes.
Why a checksum at the end: a file that is cut, damaged or not its own is taken away, never trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from medlora.workspace import Workspace, make_private, write_atomic

Arrays = dict[str, Any]  # numpy's, by name

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_PACKAGES = ("tokenizers", "transformers", "jinja2")
_SUFFIX = ".tokens"
_SUM_BYTES = 32
MOST_BYTES = 1 << 30
OLDEST_S = 30 * 86_400.0


def name_entry(dataset_sha256: str, model: Path, settings: Mapping[str, Any]) -> str:
    """The file name for a dataset as this tokenizer, these settings and this code make rows of it.

    Why the code itself: whoever mends the rendering need not remember that its results were kept.
    """
    told: dict[str, Any] = {
        "dataset": dataset_sha256,
        "files": {name: hash_file(model / name) for name in _TOKENIZER_FILES if (model / name).is_file()},
        "settings": dict(settings),
        "code": _hash_code(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "day": time.strftime("%F") if _asks_for_the_date(model) else None,
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    return f"{dataset_sha256}-{key}{_SUFFIX}"


def recall(ws: Workspace, name: str) -> Arrays | None:
    """What was kept under a name; None when there is nothing, or nothing that can be trusted."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = tokens_folder(ws) / name
    try:
        whole = path.read_bytes()
        content, checksum = whole[:-_SUM_BYTES], whole[-_SUM_BYTES:]
        if _sum(name, content) == checksum:
            os.utime(path)
            arrays: Arrays = load(content)
            return arrays
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError):
        pass  # unreadable, or gone in this moment: as good as damaged
    with suppress(OSError):
        path.unlink(missing_ok=True)
    return None


def keep(ws: Workspace, name: str, arrays: Arrays) -> None:
    """Write an entry, whole or not at all, and make room for it: the oldest go first.

    Raises: OSError when the disk is full or may not be written to.
    """
    from safetensors.numpy import save

    content: bytes = save(arrays)
    if len(content) > MOST_BYTES:
        return
    folder = tokens_folder(ws)
    make_private(folder)
    tidy(ws, MOST_BYTES - len(content))
    write_atomic(folder / name, content + _sum(name, content))


def tidy(ws: Workspace, most_bytes: int = MOST_BYTES) -> None:
    """Take away what nobody used for a month, what a killed process left, and the oldest above the bound."""
    found = []
    for path in tokens_folder(ws).glob("*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    total = 0
    for used, size, path in sorted(found, reverse=True):
        total += size
        half = path.name.startswith(".") and time.time() - used > 3600.0
        if half or total > most_bytes or time.time() - used > OLDEST_S:
            path.unlink(missing_ok=True)


def forget(ws: Workspace, dataset_sums: Iterable[str]) -> None:
    """Delete every entry of datasets with these SHA-256 sums, half-written ones too."""
    for dataset_sum in filter(None, dataset_sums):
        for path in tokens_folder(ws).glob(f"*{dataset_sum}-*"):
            path.unlink(missing_ok=True)


def known_sums(ws: Workspace) -> set[str]:
    """The SHA-256 of every dataset of which tokens are kept."""
    return {path.name.split("-", 1)[0] for path in tokens_folder(ws).glob(f"[!.]*{_SUFFIX}")}


def tokens_folder(ws: Workspace) -> Path:
    """Where the entries lie; made when the first one is kept."""
    return ws.cache / "tokens"


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack_rows(rows: Sequence[Mapping[str, list[int]]], ignored: int) -> Arrays:
    """Rows of ids and labels, end to end.

    Shapes: ids (tokens,), lengths (rows,), trained (tokens / 8,), one bit for each token that is learned.
    """
    import numpy as np

    ids = np.array([token for row in rows for token in row["input_ids"]], dtype=np.int32)
    labels = np.array([token for row in rows for token in row["labels"]], dtype=np.int32)
    return {
        "ids": ids,
        "lengths": np.array([len(row["input_ids"]) for row in rows], dtype=np.int32),
        "trained": np.packbits(labels != ignored),
    }


def unpack_rows(arrays: Arrays, ignored: int) -> list[dict[str, list[int]]]:
    """The rows that `pack_rows` was given."""
    import numpy as np

    ids, ends = arrays["ids"], np.cumsum(arrays["lengths"])
    trained = np.unpackbits(arrays["trained"], count=len(ids)).astype(bool)
    labels = np.where(trained, ids, ignored)
    pieces = [slice(end - length, end) for end, length in zip(ends, arrays["lengths"], strict=True)]
    return [{"input_ids": ids[piece].tolist(), "labels": labels[piece].tolist()} for piece in pieces]


def _sum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


def _asks_for_the_date(model: Path) -> bool:
    """Whether the chat template may write today's date, so that rows are those of a day."""
    texts = (model / name for name in ("chat_template.jinja", "tokenizer_config.json"))
    return any(b"strftime_now" in path.read_bytes() for path in texts if path.is_file())


@lru_cache(maxsize=1)
def _hash_code() -> str:
    """A hash over the modules that make rows of a file."""
    package = Path(__file__).resolve().parent
    state = hashlib.sha256()
    for path in (*sorted(package.rglob("*.py")), package.parent / "training" / "examples.py"):
        state.update(path.relative_to(package.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return state.hexdigest()
