"""Files that the page hands out: made in the app's private upload folder, fetched by one press.

Why a folder with a random name each time: Gradio serves what lies below that folder to whoever knows
the path, and nothing else of this computer.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from medlora.access.roles import Permission
from medlora.ui.events import SILENT, guarded
from medlora.workspace import make_private

_KEPT_S = 900.0
_LINK = "download-link"


def new_download(filename: str) -> Path:
    """A path for a file that is to be handed out; its folder is private and its own.

    What was handed out a quarter of an hour ago is removed: it may hold rows of a dataset.
    """
    base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    for old in base.glob("download-*"):
        if time.time() - old.stat().st_mtime > _KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    return make_private(base / f"download-{secrets.token_hex(16)}") / filename


@dataclass(frozen=True)
class Download:
    """A button that makes a file, and the hidden link that then fetches it."""

    button: gr.Button
    link: gr.DownloadButton

    def wire(
        self, make: Callable[..., Path], inputs: Sequence[Any], needs: Permission = Permission.MANAGE
    ) -> None:
        """Make the file when the button is pressed, and let the browser fetch it."""

        def hand_out(*values: Any) -> str:
            return str(make(*values))

        fetch = f"() => setTimeout(() => document.querySelector('#{_LINK}').click(), 250)"
        made = self.button.click(guarded(hand_out, needs=needs), list(inputs), self.link, **SILENT)
        made.success(None, None, None, js=fetch)


def build_link() -> gr.DownloadButton:
    """Render the hidden link that fetches every file. Why one: a page is slow by its number of widgets.

    It stands outside the tabs: what lies in a tab that was never opened is not there to be pressed.
    """
    # Why a class too: a hidden part comes into sight when what it lies in is shown later.
    return gr.DownloadButton("Download", visible="hidden", elem_id=_LINK, elem_classes="ml-hidden")


def download(label: str, elem_id: str, **button: Any) -> Download:
    """Render the button; its link is the page's, or one of its own where it stands alone."""
    root = Context.root_block
    widgets = [] if root is None else root.blocks.values()
    links = [one for one in widgets if isinstance(one, gr.DownloadButton) and one.elem_id == _LINK]
    visible = gr.Button(label, elem_id=elem_id, **button)
    return Download(visible, links[0] if links else build_link())


def drop_upload(path: Path) -> None:
    """Remove an uploaded file: it may hold what came from patients."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
