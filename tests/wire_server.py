"""A small server with OpenAI's wire format: it says what a test scripts, and records what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Exchange"], None]


class Exchange:
    """One request under way."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        self._handler = handler
        self.body = body
        self.headers = dict(handler.headers.items())

    def fail(self, status: int, body: object, **headers: str) -> None:
        """An answer in one piece, of any status."""
        said = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._handler.send_response(status)
        kind = "text/html" if isinstance(body, str) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(said)), **headers}.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()
        self._handler.wfile.write(said)

    def begin(self) -> None:
        """The head of a stream."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self._handler.end_headers()

    def send(self, raw: bytes) -> None:
        self._handler.wfile.write(raw)
        self._handler.wfile.flush()

    def say(self, text: str, **more: Any) -> None:
        """One piece of an answer."""
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **more}
        chunk = {"object": "chat.completion.chunk", "model": self.body.get("model"), "choices": [choice]}
        self.send(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")

    def end(self, finish: str = "stop", tokens: int | None = None) -> None:
        self.say("", finish_reason=finish)
        if tokens is not None:
            self.send(b'data: {"choices": [], "usage": {"completion_tokens": %d}}\n\n' % tokens)
        self.send(b"data: [DONE]\n\n")


def saying(text: str, piece: int = 4, tokens: int | None = None) -> Reply:
    """An answer that comes in pieces."""

    def reply(exchange: Exchange) -> None:
        exchange.begin()
        for at in range(0, len(text), piece):
            exchange.say(text[at : at + piece])
        exchange.end(tokens=tokens)

    return reply


@dataclass
class WireServer:
    """What it answers next, and what it was asked; a caller who hung up is counted."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    asked: list[Exchange] = field(default_factory=list)
    models: list[str] | None = None
    hung_up: threading.Event = field(default_factory=threading.Event)

    def reply_to(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        number = min(len(self.asked), len(self.replies)) - 1
        try:
            self.replies[number](exchange)
        except OSError:
            self.hung_up.set()


@contextmanager
def serve(*replies: Reply, models: list[str] | None = None) -> Iterator[WireServer]:
    """A server that answers with each reply in turn, and with the last one for ever after."""
    server = WireServer(replies=list(replies), models=models)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exchange = Exchange(self, {})
            if self.path.endswith("/v1/models") and server.models is not None:
                exchange.fail(200, {"data": [{"id": name} for name in server.models]})
            else:
                exchange.fail(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/v1/chat/completions"):
                server.reply_to(Exchange(self, body))
            else:
                Exchange(self, body).fail(404, {"detail": "Not Found"})

        def log_message(self, *_: Any) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            return

    listener = Quiet(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
