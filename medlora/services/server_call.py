"""One answer of a server, read by a thread of its own, so that Stop never waits for the server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx

from medlora.config.server import Server
from medlora.errors import MedloraError, RunFailedError, UserError
from medlora.feedback.records import UNVERIFIED
from medlora.services.chat_audit import log_failure
from medlora.services.chat_events import (
    EngineEvent,
    Finished,
    Notice,
    Question,
    ServedModel,
    Stage,
    Started,
    Text,
)
from medlora.services.server_faults import (
    KEY_VARIABLE,
    NotTakenError,
    TooLongError,
    explain_connection,
    explain_refusal,
    explain_status,
    explain_unknown,
)
from medlora.services.server_wire import EXTRAS, Piece, build_payload, read_names, read_piece, read_stream

_CONNECT_S = 10.0
_NAMES_S = 5.0
_LONGEST_BODY = 4_000_000
_LEFT_OUT = (
    "",
    "The server takes no repetition penalty: it was left out.",
    "The server takes no seed: it was left out, so the answer may differ next time.",
)
_FORGOTTEN = "The conversation is longer than the model can read: its oldest turns were left out."


class ServerCall:
    """Asks, reads, and tells what it hears; `stop` ends it at once, wherever it is."""

    def __init__(
        self, question: Question, key: str, tell: Callable[[EngineEvent | MedloraError], None]
    ) -> None:
        assert isinstance(question.base, ServedModel)
        self._question = question
        self._model = question.base.name
        self._server: Server = question.base.server
        self._key = key
        self._tell = tell
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._began = 0.0
        self._heard = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="server-call", daemon=True).start()

    def stop(self) -> None:
        """Hang up. Why the socket itself: a thread that waits for a silent server hears nothing else."""
        self._stopped.set()
        line = self._socket
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            for event in self._answer():
                if self._stopped.is_set():
                    return
                self._tell(event)
        except MedloraError as error:
            self._tell(error)
        except Exception as error:  # noqa: BLE001 - the thread's edge: whoever waits must hear of the end
            log_failure("a server's answer could not be read", error)
            self._tell(RunFailedError(f"server: its answer could not be read ({type(error).__name__})"))

    def _answer(self) -> Iterator[EngineEvent]:
        """What the server says; asked again in fewer words where it refuses some of them."""
        question, without = self._question, 0
        yield Stage("asking_server")
        with self._client() as client:
            while True:
                try:
                    yield from self._ask(client, build_payload(question, without))
                    return
                except NotTakenError:
                    without += 1
                    if without == len(EXTRAS):
                        raise self._explain_refusal(client) from None
                    yield Notice(_LEFT_OUT[without])
                except TooLongError:
                    shorter = _forget_oldest(question)
                    if shorter is None:
                        raise
                    if question is self._question:
                        yield Notice(_FORGOTTEN)
                    question = shorter

    def _client(self) -> httpx.Client:
        """Why no proxy on the way to this machine: it would see what is not to leave it."""
        headers = {"accept-encoding": "identity"}
        if self._key:
            if not (self._key.isascii() and self._key.isprintable()):
                raise UserError(f"env {KEY_VARIABLE}: it holds characters that no key has; set it again")
            headers["authorization"] = f"Bearer {self._key}"
        timeout = httpx.Timeout(_CONNECT_S, read=None)
        return httpx.Client(headers=headers, timeout=timeout, trust_env=not self._server.is_local)

    def _ask(self, client: httpx.Client, payload: dict[str, Any]) -> Iterator[EngineEvent]:
        url = f"{self._server.base_url}/chat/completions"
        self._began = time.perf_counter()
        try:
            with client.stream("POST", url, json=payload, extensions={"trace": self._trace}) as reply:
                if reply.status_code != 200:
                    raise self._explain(client, reply)
                yield from self._read(reply)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            if not isinstance(error, httpx.HTTPError):
                error = httpx.ProtocolError(type(error).__name__)
            raise explain_connection(self._server, error, began=self._heard) from error

    def _read(self, reply: httpx.Response) -> Iterator[EngineEvent]:
        """Why the count is kept here: a server that ignores the longest length must not go on for ever."""
        most = self._question.sampling.max_new_tokens
        count, finish, counted, first_at = 0, "", None, None
        for piece in _pieces(reply):
            if not self._heard:
                self._heard = True
                model = piece.model or self._model
                yield Started(model, None, UNVERIFIED, self._server.host)
            finish, counted = piece.finish or finish, piece.tokens or counted
            if piece.text:
                first_at = first_at or time.perf_counter()
                count += 1
                yield Text(piece.text, count)
            if count > most:
                finish = "length"
                break
        tokens = counted or count
        yield Finished(False, finish == "length", tokens, *_speed(self._began, first_at, tokens))

    def _explain(self, client: httpx.Client, reply: httpx.Response) -> MedloraError:
        body = b""
        for chunk in reply.iter_bytes():
            body += chunk
            if len(body) > _LONGEST_BODY:
                break
        offered = self._offered(client) if reply.status_code == 404 else []
        key = bool(self._key)
        return explain_status(self._server, self._model, reply.status_code, body, key=key, offered=offered)

    def _explain_refusal(self, client: httpx.Client) -> MedloraError:
        """Why only now: a server may refuse a setting, and may answer to names that it does not list."""
        offered = self._offered(client)
        if offered:
            return explain_unknown(self._server, self._model, offered)
        return explain_refusal(self._server)

    def _offered(self, client: httpx.Client) -> list[str]:
        """The names that the server offers, other than the one asked for; none if it does not say."""
        try:
            reply = client.get(f"{self._server.base_url}/models", timeout=_NAMES_S)
            names = read_names(reply.json()) if reply.status_code == 200 else []
        except (httpx.HTTPError, ValueError):
            return []
        return [] if self._model in names else names

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Keep the socket once there is one."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._stopped.is_set():
                self.stop()


def _pieces(reply: httpx.Response) -> Iterator[Piece]:
    """A stream, or, from a server that does not stream, the answer in one piece."""
    if "json" not in reply.headers.get("content-type", ""):
        yield from read_stream(reply.iter_bytes())
        return
    body = b""
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise RunFailedError("server: its answer is too large; lower inference.max_new_tokens")
    try:
        message = json.loads(body)
    except ValueError:
        message = None
    yield read_piece(message if isinstance(message, dict) else {})


def _speed(began: float, first_at: float | None, tokens: int) -> tuple[float | None, float | None]:
    """Seconds to the first word, and tokens after it by second."""
    if first_at is None:
        return None, None
    spent = max(time.perf_counter() - first_at, 1e-9)
    return round(first_at - began, 4), round((tokens - 1) / spent, 2) if tokens > 1 else None


def _forget_oldest(question: Question) -> Question | None:
    """The question without its oldest exchange; None where only the last message is left."""
    system = [message for message in question.messages if message["role"] == "system"]
    turns = [message for message in question.messages if message["role"] != "system"]
    following = next((at for at, turn in enumerate(turns) if at and turn["role"] == "user"), None)
    return None if following is None else replace(question, messages=(*system, *turns[following:]))
