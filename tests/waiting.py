"""Waiting for a condition, not for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(true: Callable[[], bool], timeout_s: float, explain: Callable[[], str] = str) -> None:
    """Return once it is true; fail with the explanation when it never is."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"never came true\n{explain()}"
        time.sleep(0.05)
