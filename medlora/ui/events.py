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
from gradio.context import LocalContext

from medlora.access.roles import OWNER, Caller, Permission
from medlora.errors import MedloraError, explain_disk
from medlora.ui.gate import CALLER
from medlora.ui.present import markdown

log = logging.getLogger("medlora.ui")
BROKEN = "Something broke in medlora, and it is not your fault. The details are in the log of the app."
SILENT: dict[str, Any] = {"api_visibility": "private"}
"""Private is a convenience, not a wall: what must hold is checked in `guarded` and in the services."""
UNSEEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": []}
"""No widget is told how far the event is. Why: with each change of any event's state Gradio's page looks up
every widget that was ever told, in the whole tree of widgets; that cost more than drawing the page."""
POLL: dict[str, Any] = {**SILENT, "concurrency_limit": None, **UNSEEN}
"""For events that only read: they never wait for each other and never flash."""
APPEAR = "() => ({__type__: 'update', visible: true})"
"""Shows the one output of an event that asks nothing of the app.

Why: the code of a widget that is not visible when the page opens is not fetched; the largest can wait.
"""


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
    error = explain_disk(error) or error
    if isinstance(error, MedloraError):
        if not quiet:
            gr.Warning(markdown(error).replace("\n", "<br>"), duration=20, title="Please check")
        return
    if quiet:
        _log_once(describe_bug(error))
        return
    log.error(describe_bug(error))
    raise gr.Error(BROKEN, title="Error", print_exception=False)


def current_caller() -> Caller | None:
    """Who started the event that is being handled; None for a request that no gate has let in.

    Outside any request, as in a test that calls a handler, it is the owner of this computer.
    """
    asked = LocalContext.request.get(None)
    if asked is None:
        return OWNER
    caller = asked.request.scope.get(CALLER) if asked.request is not None else None
    return caller if isinstance(caller, Caller) else None


def _is_refused(handler: Callable[..., Any], needs: Permission) -> bool:
    """Whether the caller may not do this. Why no toast: the page offers nobody what they may not do."""
    caller = current_caller()
    if caller is not None and caller.may(needs):
        return False
    _log_once(f"refused: {getattr(handler, '__qualname__', 'event')} needs the permission {needs.name}")
    return True


def guarded(
    handler: Callable[..., Any], *, quiet: bool = False, needs: Permission = Permission.MANAGE
) -> Callable[..., Any]:
    """The handler for those who may, with its errors turned into words; `quiet` for polls, which only log.

    After an error or a refusal the outputs stay as they are.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any) -> Iterator[Any]:
            if _is_refused(handler, needs):
                yield gr.skip()
                return
            try:
                yield from handler(*args)
            except gr.Error:
                raise
            except Exception as error:  # noqa: BLE001 - the page's edge
                _tell(error, quiet=quiet)
                yield gr.skip()

        stream.needs = needs  # type: ignore[attr-defined]
        return stream

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        if _is_refused(handler, needs):
            return gr.skip()
        try:
            return handler(*args)
        except gr.Error:
            raise
        except Exception as error:  # noqa: BLE001 - the page's edge
            _tell(error, quiet=quiet)
            return gr.skip()

    call.needs = needs  # type: ignore[attr-defined]
    return call


for_chat = functools.partial(guarded, needs=Permission.CHAT)
"""`guarded` for whatever belongs to a conversation: everybody who is let in may do it."""
for_ratings = functools.partial(guarded, needs=Permission.RATE)
"""`guarded` for whatever says something of an answer: testers may, a demo's visitors may not."""
