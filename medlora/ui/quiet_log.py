"""Keeps what visitors sent out of the log of the server beneath the page.

Why: Gradio prints the traceback of an event that fails before a handler is reached (a value that is not among
the choices, a forged upload), and uvicorn that of a request; both end with a message that quotes the value.
What is written instead is the place and the error's type.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from medlora.ui.events import describe_bug

_log = logging.getLogger("medlora.ui")


def log_place() -> None:
    """Where the error being handled happened, without its words."""
    error = sys.exc_info()[1]
    if error is not None:
        _log.error("an event failed: %s", describe_bug(error))


class _Traceback:
    """Stands in for the `traceback` module where Gradio prints."""

    @staticmethod
    def print_exc(*_: Any, **__: Any) -> None:
        log_place()

    @staticmethod
    def format_exc(*_: Any, **__: Any) -> str:
        error = sys.exc_info()[1]
        return describe_bug(error) if error is not None else ""


class _WithoutValues(logging.Filter):
    """Turns a record that carries an exception into one that carries its place."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            record.msg, record.args = f"a request failed: {describe_bug(error)}", ()
            record.exc_info = record.exc_text = None
        return True


def keep_values_out_of_logs() -> None:
    """To be called before the page is served; calling it again changes nothing."""
    import gradio.queueing
    import gradio.route_utils
    import gradio.routes

    for module in (gradio.queueing, gradio.route_utils, gradio.routes):
        module.traceback = _Traceback  # type: ignore[attr-defined]
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(item, _WithoutValues) for item in logger.filters):
            logger.addFilter(_WithoutValues())
