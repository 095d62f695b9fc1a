"""The edge between handlers and the page: what goes wrong becomes words, and nothing private is logged.

Why: the one place where a broad `except` stands in the page. A UserError is shown as it is (escaped);
anything else is a bug: the place it happened is logged, its message (which may quote a patient) is not.
"""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from medlora.errors import MedloraError
from medlora.ui.present import markdown

log = logging.getLogger("medlora.ui")
BROKEN = "Something broke in medlora, and it is not your fault. The details are in the log of the app."
SILENT: dict[str, Any] = {"api_visibility": "private"}
"""Every event is private: a convenience, not a wall. What must hold is checked inside the services."""
POLL: dict[str, Any] = {**SILENT, "concurrency_limit": None, "show_progress": "hidden"}
"""For events that only read: they never wait for each other and never flash."""


@functools.lru_cache(maxsize=256)
def _log_once(described: str) -> None:
    """A poll comes back every two seconds; its bug is told once."""
    log.error(described)


def describe_bug(error: BaseException) -> str:
    """Where it broke: files, lines and the error's type, without its message or any value."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


def _tell(error: Exception, *, quiet: bool) -> None:
    if isinstance(error, MedloraError):
        if not quiet:
            gr.Warning(markdown(error).replace("\n", "<br>"), duration=20, title="Please check")
        return
    if quiet:
        _log_once(describe_bug(error))
        return
    log.error(describe_bug(error))
    raise gr.Error(BROKEN, title="Error", print_exception=False)


def guarded(handler: Callable[..., Any], *, quiet: bool = False) -> Callable[..., Any]:
    """The handler with its errors turned into words; `quiet` for polls, which only log.

    After an error the outputs stay as they are.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any) -> Iterator[Any]:
            try:
                yield from handler(*args)
            except gr.Error:
                raise
            except Exception as error:  # noqa: BLE001 - the page's edge
                _tell(error, quiet=quiet)
                yield gr.skip()

        return stream

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        try:
            return handler(*args)
        except gr.Error:
            raise
        except Exception as error:  # noqa: BLE001 - the page's edge
            _tell(error, quiet=quiet)
            return gr.skip()

    return call
