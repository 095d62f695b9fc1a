"""What the chat process and its client say to each other: one JSON object a line.

    client → worker   {"op": "generate", "id", "base", "adapter", "messages", "sampling"} · stop · free
                      {"op": "compare", "id", "questions": [{"base", "adapter", "messages", "sampling"}, …]}
    worker → client   ready · stage · start · text · notice · done · error · freed
                      of a comparison each carries "of", the question's number; after the last one: end

Why no shared module with the client: the client lives in the web process, which must not import this
package. Both sides carry the version; the client refuses a worker of another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROTOCOL = 2


class RequestError(Exception):
    """The request cannot be answered and the user can mend it; the message is shown as it is."""


@dataclass(frozen=True)
class BaseModel:
    """The base model: the name people know it by and the local folder it was resolved to.

    four_bit: how its weights lie in a GPU's memory. eight_bit: whether a processor writes answers from
    weights rounded to 8 bits.
    """

    name: str
    folder: str
    four_bit: bool = False
    eight_bit: bool = False


@dataclass(frozen=True)
class AdapterFiles:
    """A published adapter and its folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy; the seed matters only above it."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class Request:
    """One answer to be generated."""

    base: BaseModel
    adapter: AdapterFiles | None
    messages: tuple[dict[str, str], ...]
    sampling: Sampling


@dataclass(frozen=True)
class Label:
    """Which weights made an answer.

    Why a hash: a name says what was asked for; the digest of the bytes that were loaded says what answered.
    """

    base: str
    adapter: str | None
    weights: str
    precision: str

    def to_wire(self) -> dict[str, str | None]:
        return {
            "base": self.base,
            "adapter": self.adapter,
            "weights": self.weights,
            "precision": self.precision,
        }


def read_request(message: Mapping[str, Any]) -> Request:
    """The question in a message.

    Raises: KeyError, TypeError or ValueError for one that is not well formed: the client is ours.
    """
    adapter = message.get("adapter")
    return Request(
        base=BaseModel(**message["base"]),
        adapter=AdapterFiles(**adapter) if adapter else None,
        messages=_read_messages(message["messages"]),
        sampling=Sampling(**message["sampling"]),
    )


def _read_messages(messages: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], ...]:
    return tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in messages)
