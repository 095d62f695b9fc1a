"""Where things lie on this machine is nobody's business: paths leave an adapter's files before it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from medlora.workspace import write_atomic, write_json

_JSON = ("adapter_config.json", "provenance.json", "medlora.json")
_CARD = "README.md"


def strip_places(folder: Path) -> None:
    """Put the last part of each path in its place, in the files of an export that tell where it was made."""
    places: dict[str, str] = {}
    for name in _JSON:
        path = folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        places |= {text: short_name(text) for text in _find(value)}
        stripped = _replace(value, places)
        if stripped != value:
            write_json(path, stripped)
    card = folder / _CARD
    if places and card.is_file():
        text = card.read_text(encoding="utf-8")
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        write_atomic(card, text)


def is_place(text: str) -> bool:
    """Whether a text is a path from the root of a disk, or from somebody's home."""
    rooted = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return "\n" not in text and (rooted or text.startswith(("~/", "~\\")))


def short_name(place: str) -> str:
    """The last part of a path."""
    return PureWindowsPath(place).name if "\\" in place else PurePosixPath(place).name


def _find(value: Any) -> Iterator[str]:
    if isinstance(value, str) and is_place(value):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _find(item)


def _replace(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return places.get(value, value)
    if isinstance(value, Mapping):
        return {key: _replace(item, places) for key, item in value.items()}
    return [_replace(item, places) for item in value] if isinstance(value, list) else value
