"""What a browser remembers of its visitor: the tab, what was chosen, and settings of a chat.

Why in the browser: two visitors of one app do not turn each other's pages, and a restart of the app loses
nothing. What may speak of a patient is kept apart: a message that is typed and not yet sent lies in
`sessionStorage`, which ends with the browser's tab, and nothing of a conversation is kept here at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.ui.events import POLL
from medlora.ui.visitors import account_name

LONGEST_NAME = 200
LONGEST_PROMPT = 8000
ACCOUNT, TAB, SECTION, GUIDE, CHAT = "account", "tab", "section", "guide", "chat"
DATASET, TRAINED_ON, RUN, SPEAKER = "dataset", "trained_on", "run", "speaker"
ADAPTER, MEASURED = "adapter", "measured"
STORE = "medlora"
# Gradio selects the first tab and empties lists while the page opens: nothing is written until it stands.
_OPENED = "() => { window.medloraOpened = true; return []; }"
_READ = f"JSON.parse(localStorage.getItem('{STORE}') ?? '{{}}')"
_ASK = f"(kept, ...rest) => [{_READ}, ...rest]"
_REPLACE = f"(kept) => {{ if (kept) localStorage.setItem('{STORE}', JSON.stringify(kept)); return []; }}"
_CHANGE = f"""(...values) => {{
  if (!window.medloraOpened) return [];
  const kept = {_READ};
  %s;
  localStorage.setItem('{STORE}', JSON.stringify(kept));
  return [];
}}"""
_KEEP = "kept[%r] = values[0]"
_KEEP_THIS = "kept[%r] = %r"
# Which tab is selected is asked of the page, a moment later: the events of two quick clicks may come in the
# wrong order, and before the page has turned.
_KEEP_SELECTED = f"""() => {{
  const look = () => {{
    const kept = {_READ};
    kept[%r] = document.querySelector('#%s > .tab-wrapper [aria-selected=true]')?.dataset.tabId;
    localStorage.setItem('{STORE}', JSON.stringify(kept));
  }};
  if (window.medloraOpened) setTimeout(look, 100);
  return [];
}}"""
_KEEP_SPEAKER = "window.medloraDescribed = null; kept.speaker = values[0]"
# While a speaker is being described the fields change by themselves: that is nothing to keep.
_DESCRIBED = "(speaker) => { window.medloraDescribed = speaker; return []; }"
_KEEP_FIELDS = (
    "if (window.medloraDescribed !== values[0]) return [];"
    "kept.chat = {...kept.chat, [values[0]]: values.slice(1)}"
)
_FORGET_FIELDS = "window.medloraDescribed = null; delete kept.chat?.[values[0]]"
_TYPED = f"(words) => {{ sessionStorage.setItem('{STORE}-%s', words ?? ''); return []; }}"


@dataclass(frozen=True)
class Kept:
    """What the browser says it remembers. Whoever holds the browser can write it, so nothing is trusted."""

    values: dict[str, Any]

    @classmethod
    def read(cls, stored: object, account: str) -> Kept:
        """What belongs to this account; in a browser that several people use, another's is left out."""
        if isinstance(stored, dict) and stored.get(ACCOUNT, "") == account:
            return cls(stored)
        return cls({ACCOUNT: account})

    def name(self, key: str) -> str | None:
        """A name that was chosen."""
        value = self.values.get(key)
        return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME else None

    def fields(self, speaker: str | None, kinds: Sequence[Any]) -> list[Any] | None:
        """The settings written for this speaker; None where there are none, or they are no settings.

        `kinds` are the values that stand now: what is kept must be of their types.
        """
        chats = self.values.get(CHAT)
        fields = chats.get(speaker) if isinstance(chats, dict) else None
        if not isinstance(fields, list) or len(fields) != len(kinds):
            return None
        fits = [_fits(value, kind) for value, kind in zip(fields, kinds, strict=True)]
        return fields if all(fits) else None


def _fits(value: object, kind: object) -> bool:
    if isinstance(kind, bool):
        return isinstance(value, bool)
    if isinstance(kind, int | float) or kind is None:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return isinstance(value, str) and len(value) <= LONGEST_PROMPT


def read_kept(stored: object) -> Kept:
    """What this browser remembers of whoever is logged in."""
    return Kept.read(stored, account_name())


def browser_memory() -> gr.JSON:
    """What carries the memory of this browser to the app, as the first input of events made by `recalled`.

    Why not Gradio's BrowserState: each of its writes is a read, a wait and a write, and two at once lose one.
    """
    return gr.JSON(visible=False)


def recalled(event: Callable[..., Any], handler: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
    """An event whose handler gets what the browser remembers; `inputs` begin with the memory."""
    return event(handler, inputs, outputs, js=_ASK, **POLL)


def replace_memory(event: Callable[..., Any], memory: gr.JSON) -> Any:
    """Write what the app made of the memory, if it made something."""
    return event(None, memory, None, js=_REPLACE, **POLL)


def begin_to_remember(opened: Any) -> None:
    """From that event on what is chosen is kept."""
    opened.then(None, None, None, js=_OPENED, **POLL)


def remember_choice(event: Callable[..., Any], key: str, widget: Any) -> Any:
    """Keep what is chosen there; in the browser alone, the app is not asked."""
    return event(None, widget, None, js=_CHANGE % (_KEEP % key), **POLL)


def remember_this(event: Callable[..., Any], key: str, value: str) -> Any:
    """Keep that it was this one; returns the event, for what follows."""
    return event(None, None, None, js=_CHANGE % (_KEEP_THIS % (key, value)), **POLL)


def remember_selected(strip: gr.Tabs, key: str) -> None:
    """Keep which tab of the strip is selected."""
    turned = [tab.select for tab in strip.children if isinstance(tab, gr.Tab)]
    gr.on(turned, None, None, None, js=_KEEP_SELECTED % (key, strip.elem_id), **POLL)


def remember_fields(speaker: Any, fields: Sequence[Any]) -> None:
    """Keep who answers, and the settings of a chat with them, apart for each speaker.

    Why not the widgets' `input`: Gradio does not tell of the first one after an update by the app.
    """
    speaker.change(None, speaker, None, js=_CHANGE % _KEEP_SPEAKER, **POLL)
    changes = [widget.change for widget in fields]
    gr.on(changes, None, [speaker, *fields], None, js=_CHANGE % _KEEP_FIELDS, **POLL)


def begin_to_keep_fields(described: Any, speaker: Any) -> None:
    """From that event on the settings are the visitor's."""
    described.then(None, speaker, None, js=_DESCRIBED, **POLL)


def forget_fields(event: Callable[..., Any], speaker: Any) -> Any:
    """Drop the settings kept for this speaker; returns the event, for what follows."""
    return event(None, speaker, None, js=_CHANGE % _FORGET_FIELDS, **POLL)


def keep_typed(demo: gr.Blocks, boxes: dict[str, gr.Textbox]) -> None:
    """What is typed and not sent yet comes back after a reload, and is gone with the browser's tab."""
    for name, box in boxes.items():
        box.change(None, box, None, js=_TYPED % name, **POLL)
    reads = ", ".join(f"sessionStorage.getItem('{STORE}-{name}') ?? ''" for name in boxes)
    read = f"() => [{reads}]" if len(boxes) > 1 else f"() => {reads}"
    demo.load(None, None, list(boxes.values()), js=read, **POLL)
