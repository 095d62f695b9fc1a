"""Text hidden in base64, brought back so that it can be read like the rest."""

from __future__ import annotations

import base64
import binascii
import re

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,4000}={0,2}(?![A-Za-z0-9+/=_-])")
_MOST = 8


def reveal(text: str) -> list[tuple[str, int, int]]:
    """(decoded text, start, end) of each piece that decodes to readable words."""
    found: list[tuple[str, int, int]] = []
    for piece in _BASE64.finditer(text):
        decoded = _decode(piece.group())
        if decoded is not None:
            found.append((decoded, piece.start(), piece.end()))
        if len(found) == _MOST:
            break
    return found


def _decode(piece: str) -> str | None:
    """The text behind a piece; None when it is not base64 of readable words."""
    plain = piece.rstrip("=").replace("-", "+").replace("_", "/")
    if plain.isalpha() and plain.lower() == plain:
        return None
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    letters = sum(char.isalpha() or char == " " for char in decoded)
    return decoded if decoded.isprintable() and letters >= 0.7 * len(decoded) else None
