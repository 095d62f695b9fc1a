"""How often a login may be tried: some times at once, then ever more slowly, by address and by name.

Why a name has more free tries than an address: else anybody could lock a user out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

ADDRESS_TRIES, NAME_TRIES = 5, 30
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 900.0
_FORGET_S = 3600.0
_MOST_KEYS = 10_000


@dataclass(frozen=True)
class _Failures:
    count: int
    last: float


@dataclass(frozen=True)
class Key:
    """What tries are counted by."""

    of: str
    free: int

    @classmethod
    def address(cls, address: str) -> Key:
        return cls(f"address {address}", ADDRESS_TRIES)

    @classmethod
    def name(cls, name: str) -> Key:
        return cls(f"name {name.casefold()[:64]}", NAME_TRIES)


class Attempts:
    """Tries to log in since the last one that succeeded."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, _Failures] = {}

    def begin(self, *keys: Key) -> float:
        """How long to wait before trying; 0: try now, and the try is counted until `succeed` takes it back.

        Why counted before it is known to fail: a hundred tries at the same moment are a hundred tries.
        """
        now = self._clock()
        with self._lock:
            wait = max(self._wait(key, now) for key in keys)
            if wait <= 0:
                for key in keys:
                    self._count(key, now)
            return wait

    def succeed(self, *keys: Key) -> None:
        with self._lock:
            for key in keys:
                self._failed.pop(key.of, None)

    def _count(self, key: Key, now: float) -> None:
        before = self._failed.pop(key.of, None)
        count = before.count if before and now - before.last < _FORGET_S else 0
        self._failed[key.of] = _Failures(count + 1, now)
        while len(self._failed) > _MOST_KEYS:
            del self._failed[next(iter(self._failed))]

    def _wait(self, key: Key, now: float) -> float:
        failures = self._failed.get(key.of)
        if failures is None or failures.count < key.free:
            return 0.0
        wait = min(_FIRST_WAIT_S * 2.0 ** min(failures.count - key.free, 20), _LONGEST_WAIT_S)
        return max(0.0, failures.last + wait - now)
