"""A conversation as the model sees it: chat template, token ids, trained mask.

Why: training, the preview, the token statistics and the chat must agree to the token, so all of them come
through here, and the web process must not load torch for it. Tokens come from the `tokenizers` library;
the template is rendered by transformers' own hardened sandbox, which stays torch-free.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from medlora.dataset.mask import Encoded, NothingToLearnError, RenderedRecord, mask_record
from medlora.dataset.shapes import Turn
from medlora.errors import DataError, UserError

Message = Turn | Mapping[str, str]

# A template must not change what a record is from one day to the next, or into a "thinking" answer that
# no record has: Llama 3 templates write a date (this is their own fallback), Qwen 3 opens a think block.
_TEMPLATE_SETTINGS = {"date_string": "26 Jul 2024", "enable_thinking": False}
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SYSTEM_PROBE = "medlora-system-probe"

MERGED_SYSTEM = (
    "The model's chat template has no system role: the system prompt stands before the first question."
)
ESCAPED_TOKENS = (
    "Control tokens of the model written in a record's text were broken up, so that they stay text."
)


class ChatTokenizer:
    """The tokenizer and chat template of one model folder."""

    def __init__(self, tokenizer: Tokenizer, template: str | None, named_tokens: Mapping[str, str]) -> None:
        """Why no truncation, padding and post-processor: a record is encoded as the template wrote it, and a
        post-processor may trim white space off the spans."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.post_processor = None
        self._tokenizer = tokenizer
        self.template = template
        self.named_tokens = dict(named_tokens)

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """The tokenizer in a model's folder.

        Raises: UserError when the folder holds no tokenizer.json that can be read.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(
                f"{folder.name}: the model's folder has no tokenizer.json; choose a model that ships one"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception on a broken file
            raise UserError(
                f"{folder.name}: tokenizer.json cannot be read ({error}); fetch the model again"
            ) from error
        settings = {
            **_read_json(folder / "special_tokens_map.json"),
            **_read_json(folder / "tokenizer_config.json"),
        }
        named = {name: text for name in _NAMED_TOKENS if (text := _token_text(settings.get(name)))}
        _add_missing_tokens(tokenizer, settings.get("added_tokens_decoder"), named)
        return cls(tokenizer, _read_template(folder, settings), named)

    # Text
    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The conversation as one string, as the model was taught to read it.

        Why contents are changed at all: a control token inside a text would end the turn and let the text
        speak as another role, so it is broken up; a template without a system role would drop or refuse it.
        Raises: DataError when the template refuses the conversation.
        """
        return self._apply(self._prepare(messages)[0], add_generation_prompt)

    def _prepare(self, messages: Sequence[Message]) -> tuple[list[Turn], tuple[str, ...]]:
        turns = [_as_turn(message) for message in messages]
        notices = []
        if not self.knows_system and turns and turns[0].role == "system":
            turns = _merge_system(turns)
            notices.append(MERGED_SYSTEM)
        plain = [Turn(turn.role, self._break_control_tokens(turn.content)) for turn in turns]
        if plain != turns:
            notices.append(ESCAPED_TOKENS)
        return plain, tuple(notices)

    def _apply(self, turns: Sequence[Turn], add_generation_prompt: bool) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        if self.template is None:
            raise DataError(
                "chat template: the model brings none and cannot tell who speaks; choose an instruct model"
            )
        conversation = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            rendered, _ = render_jinja_template(
                conversations=[conversation],
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                **self.named_tokens,
                **_TEMPLATE_SETTINGS,
            )
        except Exception as error:  # noqa: BLE001 - a template is foreign code and may raise anything
            # Its message may quote the conversation, so only its kind is told on.
            roles = ", ".join(turn.role for turn in turns)
            raise DataError(
                f"chat template: it fails on a conversation of the roles {roles} ({type(error).__name__}); "
                "mend the record's roles or choose another model"
            ) from None
        return str(rendered[0])

    @cached_property
    def knows_system(self) -> bool:
        """Whether the template has a place for a system turn.

        Why a probe: some templates raise on the role, others leave it out without a word.
        """
        probe = [Turn("system", _SYSTEM_PROBE), Turn("user", "question")]
        try:
            return _SYSTEM_PROBE in self._apply(probe, True)
        except DataError:
            return self.template is None

    # Tokens
    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens: those marked special, and those the configuration names."""
        marked = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        named = {self._tokenizer.token_to_id(text) for text in self.named_tokens.values()}
        return frozenset(marked | {i for i in named if i is not None})

    @cached_property
    def _control_tokens(self) -> re.Pattern[str]:
        texts = sorted((self.token_text(i) for i in self.special_ids), key=len, reverse=True)
        return re.compile("|".join(re.escape(text) for text in texts if len(text) > 1) or r"(?!)")

    def _break_control_tokens(self, text: str) -> str:
        return self._control_tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def strip_control_tokens(self, text: str) -> str:
        """The text without control tokens."""
        return self._control_tokens.sub("", text)

    @property
    def eos_id(self) -> int | None:
        """The end-of-sequence token, if the model names one."""
        text = self.named_tokens.get("eos_token")
        return None if text is None else self._tokenizer.token_to_id(text)

    def token_text(self, token_id: int) -> str:
        """The token as the vocabulary spells it."""
        return self._tokenizer.id_to_token(token_id) or ""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and, for each, the characters it covers, [start, end)."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self.encode(text))

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Token counts of many texts; several threads, no offsets."""
        return [
            len(encoding) for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids after which the model begins its answer."""
        return self.encode(self.render(messages, add_generation_prompt=True))

    # Records
    def encode_record(
        self, messages: Sequence[Message], *, max_seq_length: int | None = None, truncation: bool = True
    ) -> Encoded:
        """Ids and trained mask of one record: the assistant's turns, end-of-turn token included.

        Raises: NothingToLearnError when nothing would be trained, DataError when the record is too long and
        may not be cut.
        """
        record = self._mask(messages)
        length = len(record.ids)
        truncated = max_seq_length is not None and length > max_seq_length
        if truncated and not truncation:
            raise DataError(
                f"data.max_seq_length: the record has {length} tokens (at most {max_seq_length}); "
                "raise it, set data.truncation to true, or shorten the record"
            )
        encoded = Encoded(
            record.ids[:max_seq_length], record.trained[:max_seq_length], truncated, record.notices
        )
        if not any(encoded.trained):
            raise NothingToLearnError(
                f"data.max_seq_length: the question alone fills all {max_seq_length} tokens, "
                "nothing of the answer is left to learn; raise it or shorten the record"
            )
        return encoded

    def segments(
        self, messages: Sequence[Message], *, max_seq_length: int | None = None
    ) -> list[tuple[str, bool]]:
        """The record's text in pieces, each with whether it is trained on; for the preview."""
        return self._mask(messages).segments(max_seq_length)

    def _mask(self, messages: Sequence[Message]) -> RenderedRecord:
        turns, notices = self._prepare(messages)
        return mask_record(turns, self._apply, self, notices)


def _as_turn(message: Message) -> Turn:
    return message if isinstance(message, Turn) else Turn(message["role"], message["content"])


def _merge_system(turns: list[Turn]) -> list[Turn]:
    system, rest = turns[0], turns[1:]
    if rest and rest[0].role == "user":
        return [Turn("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:]]
    return [Turn("user", system.content), *rest]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path.parent.name}: {path.name} cannot be read; fetch the model again") from error
    return value if isinstance(value, dict) else {}


def _read_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """chat_template.jinja, else the one (or the one named default) inside tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _token_text(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _add_missing_tokens(tokenizer: Tokenizer, decoder: Any, named: Mapping[str, str]) -> None:
    """Control tokens that only the configuration knows, added as transformers adds them."""
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    entries = sorted(decoder.items(), key=lambda item: int(item[0])) if isinstance(decoder, dict) else []
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = [
        AddedToken(entry["content"], **{flag: bool(entry.get(flag)) for flag in flags})
        for _, entry in entries
        if entry["content"] not in known
    ]
    known |= {token.content for token in tokens}
    tokens += [AddedToken(text, special=True) for text in dict.fromkeys(named.values()) if text not in known]
    if tokens:
        tokenizer.add_tokens(tokens)
