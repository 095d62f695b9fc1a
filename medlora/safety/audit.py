"""The audit log: append-only JSON lines, chained with an HMAC, anchored outside the log.

Covered: an edited, deleted, inserted, reordered or cut line is found by `verify`, since each line's
code covers the line before it and the anchored head names the last one. Purging old lines leaves a
signed marker, so the rest still verifies.
Not covered: someone who can read the key folder can forge a log. Keep a copy of the head elsewhere
if that matters.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from medlora.errors import UserError
from medlora.workspace import make_private, write_atomic, write_json

GENESIS = "0" * 64


@dataclass(frozen=True)
class VerifyReport:
    """Whether the log is whole, and what was found where it is not."""

    ok: bool
    entries: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Head:
    """The anchored end of the log: how many entries, the last code, how many bytes."""

    count: int
    mac: str
    size: int


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class AuditLog:
    """One chained log in a folder; its key and head lie in another folder."""

    def __init__(self, folder: Path, keys: Path | None = None) -> None:
        self._folder = make_private(folder)
        self._keys = make_private(keys or folder.parent / f"{folder.name}-keys")
        self._log = self._folder / "audit.jsonl"
        self._head = self._keys / "head.json"
        self._lock = FileLock(str(self._keys / "audit.lock"), timeout=30)
        self._secret = self._load_key()

    def _load_key(self) -> bytes:
        """The key, made once by whoever comes first."""
        path = self._keys / "hmac.key"
        with self._lock:
            if not path.exists():
                write_atomic(path, secrets.token_hex(32) + "\n")
                self._secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
                self._anchor(_Head(0, GENESIS, 0))
            return bytes.fromhex(path.read_text(encoding="ascii").strip())

    def digest(self, text: str) -> str:
        """A keyed digest of a message: a plain hash of a short one could be guessed."""
        return hmac.new(
            self._secret, b"text\0" + text.encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()

    def append(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Write one entry with its time, number and code; returns the line as written."""
        with self._lock:
            head = self._recover()
            return self._write(entry, head)

    def _write(self, entry: Mapping[str, Any], head: _Head) -> dict[str, Any]:
        body = {"time": round(time.time(), 3), **entry, "seq": head.count + 1, "prev": head.mac}
        line = {**body, "mac": self._code(body)}
        data = _canonical(line) + b"\n"
        with self._log.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix" and head.count == 0:
            self._log.chmod(0o600)
        self._anchor(_Head(head.count + 1, str(line["mac"]), self._log.stat().st_size))
        return line

    def _code(self, body: Mapping[str, Any]) -> str:
        return hmac.new(self._secret, _canonical(body), hashlib.sha256).hexdigest()

    def _anchor(self, head: _Head) -> None:
        body = {"count": head.count, "mac": head.mac, "size": head.size}
        write_json(self._head, {**body, "anchor": self._code(body)})

    def _read_head(self) -> _Head | None:
        """The anchored head; None when there is none, or when it was tampered with."""
        try:
            stored = json.loads(self._head.read_text(encoding="utf-8"))
            body = {key: stored[key] for key in ("count", "mac", "size")}
            if not hmac.compare_digest(self._code(body), str(stored["anchor"])):
                return None
            return _Head(int(body["count"]), str(body["mac"]), int(body["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _recover(self) -> _Head:
        """The head to append to, after a crash between writing a line and anchoring it.

        Why: whole lines past the anchor carry valid codes and are adopted; a torn last line is cut off.
        """
        head = self._read_head() or _Head(0, GENESIS, 0)
        size = self._log.stat().st_size if self._log.exists() else 0
        if size <= head.size:
            return head
        with self._log.open("rb") as file:
            file.seek(head.size)
            tail = file.read()
        for raw in tail.splitlines(keepends=True):
            entry = _parse(raw) if raw.endswith(b"\n") else None
            if entry is None or not self._follows(entry, head.count, head.mac):
                break
            head = _Head(head.count + 1, str(entry["mac"]), head.size + len(raw))
        if size > head.size and not tail.endswith(b"\n"):
            os.truncate(self._log, head.size)
        return head

    def _follows(self, entry: Mapping[str, Any], count: int, mac: str) -> bool:
        body = {key: value for key, value in entry.items() if key != "mac"}
        return (
            entry.get("seq") == count + 1
            and entry.get("prev") == mac
            and hmac.compare_digest(self._code(body), str(entry.get("mac", "")))
        )

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every readable entry, oldest first."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            for raw in file:
                entry = _parse(raw)
                if entry is not None:
                    yield entry

    def verify(self) -> VerifyReport:
        """Check every code, the chain and the anchored head."""
        with self._lock:
            problems, count, mac, total = self._walk()
            head = self._read_head()
        if head is None:
            problems.append("head: the anchor is missing or was changed; the end of the log is not proven")
        elif count < head.count:
            problems.append(f"end: the log was cut (got {count} entries, the anchor names {head.count})")
        elif count == head.count and mac != head.mac:
            problems.append("end: the last entry is not the one the anchor names")
        return VerifyReport(ok=not problems, entries=total, problems=tuple(problems))

    def _walk(self) -> tuple[list[str], int, str, int]:
        problems: list[str] = []
        count, mac, total = 0, GENESIS, 0
        if not self._log.exists():
            return problems, count, mac, total
        with self._log.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                entry = _parse(raw)
                if entry is None:
                    problems.append(f"line {number}: not a whole JSON object")
                    continue
                total += 1
                body = {key: value for key, value in entry.items() if key != "mac"}
                seq = entry.get("seq")
                if not hmac.compare_digest(self._code(body), str(entry.get("mac", ""))):
                    problems.append(
                        f"line {number}: the entry was changed, or was not written by this installation"
                    )
                elif number == 1 and entry.get("event") == "purge_marker":
                    count, mac = int(entry["seq"]), str(entry["removed_through"])
                    continue
                elif seq != count + 1 or entry.get("prev") != mac:
                    problems.append(f"line {number}: the chain is broken (got entry {seq} after {count})")
                count, mac = int(seq) if isinstance(seq, int) else count, str(entry.get("mac", ""))
        return problems, count, mac, total

    def purge(self, older_than_days: float) -> int:
        """Remove entries older than that, leaving a signed marker; returns how many went.

        Why: retention must not cost the proof that what is left is whole.
        Raises: UserError when the log does not verify, since a purge would hide the damage.
        """
        with self._lock:
            report = self.verify()
            if not report.ok:
                raise UserError(
                    f"audit: the log does not verify ({report.problems[0]}); keep it and look into it"
                )
            head = self._recover()
            border = time.time() - older_than_days * 86_400
            kept: list[bytes] = []
            last: dict[str, Any] | None = None
            removed = 0
            for entry in self.entries():
                if not kept and (entry.get("event") == "purge_marker" or float(entry["time"]) < border):
                    last = entry
                    removed += entry.get("event") != "purge_marker"
                else:
                    kept.append(_canonical(entry) + b"\n")
            if last is None or not removed:
                return 0
            data = self._mark(last) + b"".join(kept)
            write_atomic(self._log, data)
            self._anchor(_Head(head.count, head.mac, len(data)))
            return removed

    def _mark(self, last: Mapping[str, Any]) -> bytes:
        """The signed line that stands for everything up to the last removed entry."""
        body = {
            "event": "purge_marker",
            "time": round(time.time(), 3),
            "seq": last["seq"],
            "removed_through": last["mac"],
        }
        return _canonical({**body, "mac": self._code(body)}) + b"\n"


def _parse(raw: bytes) -> dict[str, Any] | None:
    """One line as an object; None when it is not one."""
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
