"""Safetensors read without torch: names, shapes and types from the header, and whether all is finite.

Why: a file from elsewhere is looked at in the app's own process before anything loads it, and that process
must stay free of torch.
Source: the format's description in the safetensors repository: 8 bytes of length, JSON, then the data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_HEADER_LIMIT = 64 * 2**20
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_PIECE = 1 << 22


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file. begin, end: bytes from the start of the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensor_header(path: Path) -> dict[str, TensorEntry]:
    """Every tensor by its name.

    Raises: ValueError that says what is wrong with the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise ValueError("it is not a safetensors file, or it is cut off")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise ValueError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    entries = [_entry(name, value, 8 + length) for name, value in header.items() if name != "__metadata__"]
    place = 8 + length
    for entry in sorted(entries, key=lambda item: item.begin):
        if entry.begin != place:
            raise ValueError(f"{entry.name}: its data overlaps another's or leaves a gap")
        place = entry.end
    if place != size:
        raise ValueError("its length is not what its header says; it is cut off or longer")
    return {entry.name: entry for entry in entries}


def _entry(name: str, value: Any, offset: int) -> TensorEntry:
    try:
        kind, shape = str(value["dtype"]), tuple(value["shape"])
        begin, end = value["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name[:120]}: its entry in the header is not whole") from None
    whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    if not whole or (kind in _SIZES and end - begin != prod(shape) * _SIZES[kind]):
        raise ValueError(f"{name[:120]}: its shape does not fit its data")
    return TensorEntry(name, kind, shape, offset + begin, offset + end)


def is_finite(path: Path, entry: TensorEntry) -> bool:
    """Whether every number of the tensor is finite.

    Raises: ValueError for a type that holds no floating-point numbers.
    """
    if entry.kind not in _SIZES:
        raise ValueError(f"{entry.name}: only floating-point weights are taken (got {entry.kind})")
    with path.open("rb") as file:
        file.seek(entry.begin)
        left = entry.end - entry.begin
        while left:
            data = file.read(min(_PIECE, left))
            if not data or not _finite(data, entry.kind):
                return False
            left -= len(data)
    return True


def _finite(data: bytes, kind: str) -> bool:
    """bfloat16 is unknown to numpy: all ones in its eight exponent bits mean infinite or no number."""
    if kind == "BF16":
        return not bool(np.any((np.frombuffer(data, "<u2") & 0x7F80) == 0x7F80))
    return bool(np.isfinite(np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[kind])).all())
