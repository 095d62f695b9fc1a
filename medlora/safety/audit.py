"""The audit log: append-only JSON lines, chained with an HMAC, anchored outside the log.

Covered: an edited, deleted, inserted, reordered or cut line, and a log that was replaced, are found by
`verify`, since each line's code covers the line before it and the anchored head names the last one.
A lost anchor leaves a line that says so. Purging old lines leaves a signed marker, so the rest still
verifies. A damaged log can be set aside, kept as it is, and a new one names it.
Not covered: someone who can read the key folder can forge a log, and someone who can put both folders
back to an earlier day can hide what came after. Against both helps a seal (`verify` prints one) that is
noted elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from medlora.errors import UserError
from medlora.safety.audit_seal import Head, Sealer, canonical, parse_line
from medlora.safety.audit_verify import VerifyReport, verify_lines
from medlora.workspace import make_private, write_atomic

__all__ = ["AuditLog", "VerifyReport"]

DAY_S = 86_400


class AuditLog:
    """One chained log in a folder; its key and head lie in another folder."""

    def __init__(self, folder: Path, keys: Path | None = None) -> None:
        self._folder = make_private(folder)
        self._keys = make_private(keys or folder.parent / f"{folder.name}-keys")
        self._log = self._folder / "audit.jsonl"
        self._head = self._keys / "head.json"
        self._lock = FileLock(str(self._keys / "audit.lock"), timeout=30)
        self._sealer = self._load_key()

    def _load_key(self) -> Sealer:
        """The key, made once by whoever comes first."""
        path = self._keys / "hmac.key"
        with self._lock:
            if not path.exists():
                write_atomic(path, secrets.token_hex(32) + "\n")
                Sealer.read(path).write_head(self._head, Head())
            return Sealer.read(path)

    def digest(self, text: str) -> str:
        """A keyed digest of a message: a plain hash of a short one could be guessed."""
        return self._sealer.digest(text)

    def append(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Write one entry with its time, number and code; returns the line as written."""
        with self._lock:
            return self._write(entry, self._recover())

    def _write(self, entry: Mapping[str, Any], head: Head) -> dict[str, Any]:
        body = {"time": round(time.time(), 3), **entry, "seq": head.count + 1, "prev": head.mac}
        line = {**body, "mac": self._sealer.code(body)}
        fresh = not self._log.exists()
        with self._log.open("ab") as file:
            file.write(canonical(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix" and fresh:
            self._log.chmod(0o600)
        self._anchor(Head(head.count + 1, str(line["mac"]), self._log.stat().st_size))
        return line

    def _anchor(self, head: Head) -> None:
        self._sealer.write_head(self._head, head)

    def _recover(self) -> Head:
        """The head to append to, after a crash between writing a line and anchoring it.

        Why: whole lines past the anchor carry valid codes and are adopted; a torn last line is cut off.
        A cut log is not mended: the next line is chained to what the anchor names, so `verify` finds the
        gap for ever. Without an anchor the log says so in a line of its own, for the same reason.
        """
        head = self._sealer.read_head(self._head)
        size = self._log.stat().st_size if self._log.exists() else 0
        if head is None:
            lost = self._adopt(Head(), size)
            written = self._write({"event": "anchor_lost"}, lost)
            return Head(lost.count + 1, str(written["mac"]), self._log.stat().st_size)
        if size < head.size:
            self._end_last_line()
            return head
        return self._adopt(head, size)

    def _adopt(self, head: Head, size: int) -> Head:
        """The end after the whole lines that follow `head`; a torn line after it is removed."""
        if size <= head.size:
            return head
        with self._log.open("rb") as file:
            file.seek(head.size)
            tail = file.read()
        at = head.size
        for raw in tail.splitlines(keepends=True):
            at += len(raw)
            entry = parse_line(raw) if raw.endswith(b"\n") else None
            if entry is not None and _is_marker(entry, at - len(raw)) and self._sealer.is_genuine(entry):
                head = Head(int(entry["seq"]), str(entry["removed_through"]), at)
            elif entry is not None and self._sealer.follows(entry, head):
                head = Head(head.count + 1, str(entry["mac"]), at)
        if not tail.endswith(b"\n"):
            os.truncate(self._log, size - len(tail.splitlines()[-1]))
        return head

    def _end_last_line(self) -> None:
        """Let a cut last line be a line of its own, so that the next entry is one too."""
        if not self._log.exists() or not self._log.stat().st_size:
            return
        with self._log.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")

    def _lines(self) -> Iterator[bytes]:
        if self._log.exists():
            with self._log.open("rb") as file:
                yield from file

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every readable entry, oldest first."""
        for raw in self._lines():
            entry = parse_line(raw)
            if entry is not None:
                yield entry

    def verify(self, seal: str = "") -> VerifyReport:
        """Check every code, the chain and the anchored head; with a seal, that its end is still there."""
        with self._lock:
            return verify_lines(self._lines(), self._sealer, self._sealer.read_head(self._head), seal)

    def purge(self, older_than_days: float) -> int:
        """Remove entries older than that, leaving a signed marker; returns how many went.

        Why: retention must not cost the proof that what is left is whole.
        Raises: UserError when the log does not verify, since a purge would hide the damage.
        """
        with self._lock:
            head = self._recover()
            report = self.verify()
            if not report.ok:
                raise UserError(
                    f"audit: the log does not verify ({report.problems[0]}); keep it and look into it, "
                    "then set it aside to begin a new one"
                )
            border = time.time() - older_than_days * DAY_S
            kept, last, removed = self._split(border)
            if last is None or not removed:
                return 0
            data = self._mark(last, removed) + b"".join(kept)
            write_atomic(self._log, data)
            self._anchor(Head(head.count, head.mac, len(data)))
            return removed

    def _split(self, border: float) -> tuple[list[bytes], dict[str, Any] | None, int]:
        """(the lines that stay, the last that goes, how many go); nothing goes after one that stays."""
        kept: list[bytes] = []
        last: dict[str, Any] | None = None
        removed = 0
        for entry in self.entries():
            if not kept and (_is_marker(entry, 0) or float(entry["time"]) < border):
                marker = entry.get("event") == "purge_marker"
                last = {"seq": entry["seq"], "mac": entry["removed_through"]} if marker else entry
                removed += not marker
            else:
                kept.append(canonical(entry) + b"\n")
        return kept, last, removed

    def _mark(self, last: Mapping[str, Any], removed: int) -> bytes:
        """The signed line that stands for everything up to the last removed entry."""
        body = {
            "event": "purge_marker",
            "time": round(time.time(), 3),
            "seq": last["seq"],
            "removed": removed,
            "removed_through": last["mac"],
        }
        return canonical({**body, "mac": self._sealer.code(body)}) + b"\n"

    def set_aside(self) -> Path:
        """Keep a damaged log as it is under another name; a new one begins, whose first line names it.

        Raises: UserError for a log that is whole, since there is nothing to set aside.
        """
        with self._lock:
            if self.verify().ok:
                raise UserError("audit: the log is whole; there is nothing to set aside")
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            kept = self._folder / f"audit-{stamp}-{secrets.token_hex(2)}.jsonl"
            digest = hashlib.sha256(b"".join(self._lines())).hexdigest()
            if self._log.exists():
                self._log.replace(kept)
            else:
                kept.touch(mode=0o600)
            self._anchor(Head())
            self._write({"event": "set_aside", "file": kept.name, "sha256": digest}, Head())
            return kept


def _is_marker(entry: Mapping[str, Any], place: int) -> bool:
    """Whether a line is the marker of a purge, which stands at the log's beginning alone."""
    return place == 0 and entry.get("event") == "purge_marker"
