"""Read the whole audit log and say where it is not as it was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from medlora.safety.audit_seal import GENESIS, Head, Sealer, parse_line

_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class VerifyReport:
    """Whether the log is whole, and what was found where it is not.

    seal: names the end of the log; noted elsewhere, it later proves that this end is still in the log.
    """

    ok: bool
    entries: int
    problems: tuple[str, ...]
    seal: str = ""


@dataclass
class _Walk:
    """The state of a walk from the first line to the last."""

    sealer: Sealer
    problems: list[str] = field(default_factory=list)
    count: int = 0
    mac: str = GENESIS
    entries: int = 0
    purged_through: int = 0
    codes: dict[int, str] = field(default_factory=dict)

    def take(self, number: int, raw: bytes) -> None:
        entry = parse_line(raw)
        if not raw.endswith(b"\n"):
            self.problems.append(
                f"line {number}: the last line is torn; it was cut, or a write was broken off"
            )
        elif entry is None:
            self.problems.append(f"line {number}: not a whole JSON object")
        else:
            self.entries += 1
            self._follow(number, entry)

    def _follow(self, number: int, entry: dict[str, Any]) -> None:
        seq = entry.get("seq")
        if not self.sealer.is_genuine(entry):
            self.problems.append(
                f"line {number}: the entry was changed, or was not written by this installation"
            )
        elif number == 1 and entry.get("event") == "purge_marker":
            self.count = self.purged_through = int(entry["seq"])
            self.mac = str(entry["removed_through"])
            self.codes[self.count] = self.mac
            return
        elif seq != self.count + 1 or entry.get("prev") != self.mac:
            self.problems.append(f"line {number}: the chain is broken (got entry {seq} after {self.count})")
        elif entry.get("event") == "anchor_lost":
            self.problems.append(
                f"line {number}: the anchor was missing or changed when this was written; "
                "entries before it may have been cut"
            )
        self.count = seq if isinstance(seq, int) else self.count
        self.mac = str(entry.get("mac", ""))
        self.codes[self.count] = self.mac


def verify_lines(lines: Iterable[bytes], sealer: Sealer, head: Head | None, seal: str = "") -> VerifyReport:
    """Check every code, the chain, the anchored head and, where one is given, a seal noted earlier."""
    walk = _Walk(sealer)
    for number, raw in enumerate(lines, start=1):
        walk.take(number, raw)
    problems = walk.problems
    if head is None:
        problems.append("head: the anchor is missing or was changed; the end of the log is not proven")
    elif walk.count < head.count:
        problems.append(f"end: the log was cut (got {walk.count} entries, the anchor names {head.count})")
    elif walk.codes.get(head.count, GENESIS if head.count == 0 else "") != head.mac:
        problems.append("end: the last entry is not the one the anchor names")
    if seal:
        problems += _check_seal(walk, seal)
    more = len(problems) - _MOST_PROBLEMS
    if more > 0:
        problems[_MOST_PROBLEMS:] = [f"and {more} more problems like these"]
    end = Head(walk.count, walk.mac).seal
    return VerifyReport(ok=not problems, entries=walk.entries, problems=tuple(problems), seal=end)


def _check_seal(walk: _Walk, seal: str) -> list[str]:
    """What is wrong with a seal that was noted earlier."""
    number, _, code = seal.strip().partition(":")
    if not number.isdigit() or len(code) < 8:
        return [
            f"seal: this is no seal (got {seal[:40]!r}); give one as verify prints it, such as 12:9f86d081"
        ]
    count = int(number)
    if count < walk.purged_through:
        return [f"seal: entry {count} was purged since (everything through {walk.purged_through} was)"]
    if count == 0 and GENESIS.startswith(code):
        return []
    found = walk.codes.get(count)
    if found is None:
        return [f"seal: entry {count} is not in the log any more; the log was cut or replaced"]
    if not found.startswith(code):
        return [f"seal: entry {count} is another one than when the seal was noted; the log was replaced"]
    return []
