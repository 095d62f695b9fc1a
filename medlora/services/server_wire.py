"""What servers with OpenAI's interface speak: a question as JSON, an answer as a stream of events.

Covered: vLLM, Ollama, llama.cpp and `transformers serve`, which differ in what they send beside the words, in
whether they count tokens, in how the stream ends, and in what of a question they refuse to read.
Not covered: tools, pictures, and what a model thinks aloud in a field of its own, which is no answer.
Source: OpenAI's API reference (chat completions, streaming); WHATWG HTML, server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medlora.errors import RunFailedError
from medlora.services.chat_events import Question

_LONGEST_LINE = 1_000_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Piece:
    """What one event of the stream says. model: the name by which the server calls who speaks.

    finish: why the answer ends; empty while it goes on. tokens: the server's own count of the whole answer.
    """

    text: str = ""
    model: str = ""
    finish: str = ""
    tokens: int | None = None


EXTRAS: tuple[tuple[str, ...], ...] = ((), ("repetition_penalty",), ("seed", "stream_options"))
"""What not every server understands, in the order in which it is left out."""


def build_payload(question: Question, without: int = 0) -> dict[str, Any]:
    """The question as the server reads it, without the first so many groups of extras."""
    sampling = question.sampling
    payload: dict[str, Any] = {
        "model": question.base.name,
        "messages": [dict(message) for message in question.messages],
        "stream": True,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    payload["stream_options"] = {"include_usage": True}
    if sampling.seed is not None:
        payload["seed"] = sampling.seed
    if sampling.repetition_penalty != 1:
        payload["repetition_penalty"] = sampling.repetition_penalty
    for name in (name for group in EXTRAS[: without + 1] for name in group):
        payload.pop(name, None)
    return payload


def read_stream(chunks: Iterable[bytes]) -> Iterator[Piece]:
    """The pieces of a streamed answer, to its end.

    Raises: RunFailedError for a stream that breaks off, reports an error or is none.
    """
    finished = False
    for data in _read_events(chunks):
        if data == "[DONE]":
            return
        piece = read_piece(_parse(data))
        finished = finished or bool(piece.finish)
        yield piece
    if not finished:
        raise RunFailedError("server: the answer broke off in the middle; ask again")


def read_piece(message: Mapping[str, Any]) -> Piece:
    """One event, or an answer in one piece.

    Raises: RunFailedError for what is no part of an answer.
    """
    if message.get("error") or message.get("object") == "error":
        raise RunFailedError("server: it reports an error in the middle of the answer; its own log says more")
    choices = message.get("choices")
    usage = message.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(choices, list):
        raise _not_understood()
    choice = choices[0] if choices else {}
    if not isinstance(choice, dict):
        raise _not_understood()
    said = choice.get("delta") or choice.get("message") or {}
    text = said.get("content") if isinstance(said, dict) else None
    return Piece(
        text if isinstance(text, str) else "",
        _clean_name(message.get("model")),
        str(choice.get("finish_reason") or ""),
        tokens if isinstance(tokens, int) else None,
    )


def read_names(message: object) -> list[str]:
    """The models in a server's list of them; empty for what is no such list."""
    listed = message.get("data") if isinstance(message, dict) else None
    names = [_clean_name(item.get("id")) for item in listed or () if isinstance(item, dict)]
    return [name for name in names if name]


def _read_events(chunks: Iterable[bytes]) -> Iterator[str]:
    """The data of each event. Why by hand: to a text's lines a U+2028 inside an answer would be an end."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise _not_understood()
        for line in lines:
            name, colon, value = line.rstrip(b"\r").partition(b":")
            if name == b"data" and colon:
                yield value.decode("utf-8", "replace").strip()


def _parse(data: str) -> Mapping[str, Any]:
    try:
        message = json.loads(data)
    except ValueError:
        raise _not_understood() from None
    if not isinstance(message, dict):
        raise _not_understood()
    return message


def _clean_name(name: object) -> str:
    printable = "".join(sign for sign in name if sign.isprintable()) if isinstance(name, str) else ""
    return printable.strip()[:_LONGEST_NAME]


def _not_understood() -> RunFailedError:
    return RunFailedError(
        "server: what it sends is no answer of OpenAI's interface; inference.base_url usually ends in /v1"
    )
