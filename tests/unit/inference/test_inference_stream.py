"""Text comes in pieces that never break a character and always add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.dataset.render import ChatTokenizer
from medlora.inference.stream import TextStream
from tests.tiny_models import make_tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer(folder)
    return ChatTokenizer.load(folder)


def _stream(tokenizer: ChatTokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.feed(token) for token in ids), stream.finish()]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_the_pieces_add_up_to_the_text_and_none_breaks_a_character(
    tokenizer: ChatTokenizer, text: str
) -> None:
    pieces = _stream(tokenizer, tokenizer.encode(text))
    assert "".join(pieces).rstrip("\ufffd") == text.rstrip("\ufffd")
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_of_four_bytes_appears_whole(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.encode("🫀")
    assert len(ids) == 4
    assert _stream(tokenizer, ids) == ["", "", "", "🫀", ""]


def test_a_character_that_was_cut_off_is_left_out(tokenizer: ChatTokenizer) -> None:
    ids = [*tokenizer.encode("ok "), *tokenizer.encode("🫀")[:2]]
    assert "".join(_stream(tokenizer, ids)) == "ok "


def test_bytes_that_never_become_a_character_do_not_hold_up_the_rest(tokenizer: ChatTokenizer) -> None:
    half = tokenizer.encode("🫀")[1]
    pieces = _stream(tokenizer, [*[half] * 6, *tokenizer.encode(" still here")])
    assert "".join(pieces).endswith(" still here")


def test_control_tokens_are_not_text(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.encode("<|im_start|>Hello<|im_end|>")
    assert "".join(_stream(tokenizer, ids)) == "Hello"


@pytest.mark.parametrize("family", ["mistral", "gemma", "phi3"])
def test_every_family_streams_what_it_encodes(tmp_path: Path, family: str) -> None:
    make_tiny_tokenizer(tmp_path, family)
    tokenizer = ChatTokenizer.load(tmp_path)
    text = "Take care – naïve café, 心臓, and  two  spaces.\n\nNew paragraph."
    assert "".join(_stream(tokenizer, tokenizer.encode(text))) == text
