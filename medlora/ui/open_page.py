"""The page as it is served: behind the guard and the gate, and without what Gradio would send or keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from medlora.errors import UserError
from medlora.services.chat import ChatService
from medlora.ui.access_options import served_names
from medlora.ui.description import describe_unwatched
from medlora.ui.gate import Gate, Identity
from medlora.ui.guard import guard_middleware
from medlora.ui.launch import LARGEST_UPLOAD, LaunchOptions
from medlora.ui.palette import FAVICON, style_sheet
from medlora.ui.quiet_log import keep_values_out_of_logs
from medlora.ui.theme import make_theme


@dataclass(frozen=True)
class OpenPage:
    """The page before and while it is served."""

    demo: gr.Blocks
    chat: ChatService
    identity: Identity

    def open(self, options: LaunchOptions) -> str:
        """Serve it to those the identity lets in; returns its address.

        Raises: UserError when the port is taken.
        """
        gate = Middleware(Gate, identity=self.identity)
        names = served_names(options.host, options.access)
        keep_values_out_of_logs()
        describe_unwatched()
        self.demo.queue(max_size=64, default_concurrency_limit=4)
        try:
            _, address, _ = self.demo.launch(
                server_name=options.host,
                server_port=options.port,
                inbrowser=options.open_browser,
                prevent_thread_lock=True,
                quiet=True,
                # Else Gradio asks for its own page and gives up if a loaded machine takes three seconds.
                _frontend=False,
                share=False,
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                ssr_mode=False,
                pwa=False,
                show_error=False,
                footer_links=[],
                max_file_size=LARGEST_UPLOAD,
                ssl_certfile=_path(options.access.certificate),
                ssl_keyfile=_path(options.access.key),
                ssl_verify=False,
                favicon_path=str(FAVICON),
                theme=make_theme(),
                css=style_sheet(),
                app_kwargs={
                    "middleware": [*guard_middleware(names, options.frame_ancestors), gate],
                    "docs_url": None,
                    "redoc_url": None,
                    "openapi_url": None,
                },
            )
        except OSError as error:
            taken = f"port {options.port}" if options.port else "every port from 7860 to 7959"
            raise UserError(
                f"--port: {taken} is taken; end the other program or name another port"
            ) from error
        return str(address)

    def close(self) -> None:
        """End the server and the chat engine; training runs go on."""
        self.demo.close(verbose=False)
        self.chat.close()


def _path(path: Path | None) -> str | None:
    return str(path) if path is not None else None
