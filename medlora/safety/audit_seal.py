"""What seals an audit line: the key, the codes made with it, and the anchored end of the log."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.workspace import write_json

GENESIS = "0" * 64
_SEAL_CHARS = 16


@dataclass(frozen=True)
class Head:
    """The anchored end of the log: how many entries, the last code, how many bytes."""

    count: int = 0
    mac: str = GENESIS
    size: int = 0

    @property
    def seal(self) -> str:
        """A short name of this end, to be noted elsewhere: `12:9f86d081884c7d65`."""
        return f"{self.count}:{self.mac[:_SEAL_CHARS]}"


def canonical(value: Mapping[str, Any]) -> bytes:
    """The one way a line is written, so that its code can be computed again."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """One line as an object; None when it is not one."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Sealer:
    """Makes and checks codes with the audit key."""

    secret: bytes

    @classmethod
    def read(cls, path: Path) -> Sealer:
        """Raises: UserError for a key file that holds no key."""
        try:
            return cls(bytes.fromhex(path.read_text(encoding="ascii").strip()))
        except (OSError, ValueError):
            raise UserError(
                f"audit: {path.name}: the key cannot be read; put the key back from a copy, or set both "
                "the log and its key folder aside"
            ) from None

    def code(self, body: Mapping[str, Any]) -> str:
        return hmac.new(self.secret, canonical(body), hashlib.sha256).hexdigest()

    def digest(self, text: str) -> str:
        """A keyed digest of a message: a plain hash of a short one could be guessed."""
        data = b"text\0" + text.encode("utf-8", "surrogatepass")
        return hmac.new(self.secret, data, hashlib.sha256).hexdigest()

    def is_genuine(self, entry: Mapping[str, Any]) -> bool:
        """Whether a line carries the code of its own content."""
        body = {key: value for key, value in entry.items() if key != "mac"}
        try:
            return hmac.compare_digest(self.code(body), str(entry.get("mac", "")))
        except (UnicodeEncodeError, TypeError):
            return False

    def follows(self, entry: Mapping[str, Any], head: Head) -> bool:
        """Whether a genuine line is the one after that end."""
        chained = entry.get("seq") == head.count + 1 and entry.get("prev") == head.mac
        return chained and self.is_genuine(entry)

    def write_head(self, path: Path, head: Head) -> None:
        body = {"count": head.count, "mac": head.mac, "size": head.size}
        write_json(path, {**body, "anchor": self.code(body)})

    def read_head(self, path: Path) -> Head | None:
        """The anchored head; None when there is none, or when it was tampered with."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            body = {key: stored[key] for key in ("count", "mac", "size")}
            if not hmac.compare_digest(self.code(body), str(stored["anchor"])):
                return None
            return Head(int(body["count"]), str(body["mac"]), int(body["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
