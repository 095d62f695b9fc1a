"""The loop gives the tokens that transformers gives, with and without what it remembers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from medlora.inference.decode import CPU_PIECE, Decoder, Identity
from medlora.inference.protocol import Sampling
from medlora.inference.sampling import Sampler
from medlora.inference.step import find_step
from tests.tiny_models import FAMILIES, VOCABULARY, make_tiny_model

pytestmark = pytest.mark.torch
LONG = [(7 * i + i * i) % 400 + 40 for i in range(5 * CPU_PIECE + 11)]


def _load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _load(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


def _greedy(decoder: Decoder, ids: list[int], count: int = 24, weights: str = "w") -> list[int]:
    sampler = Sampler(Sampling(), ids, VOCABULARY, torch.device("cpu"))
    tokens = decoder.tokens(Identity(weights), ids, sampler, lambda: False)
    answer = list(islice(tokens, count))
    tokens.close()
    return answer


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    model = _load(make_tiny_model(tmp_path / family, family))
    model.generation_config.eos_token_id = None
    prompt = torch.tensor([LONG])
    expected = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, pad_token_id=0
    )[0, len(LONG) :].tolist()
    decoder = Decoder(model)
    assert _greedy(decoder, LONG) == expected
    assert _greedy(decoder, LONG) == expected, "and again, from memory"


def _read(monkeypatch: pytest.MonkeyPatch, decoder: Decoder) -> list[int]:
    """The number of prompt tokens that each call of the model reads, from now on."""
    lengths: list[int] = []
    read = decoder._read_piece
    monkeypatch.setattr(
        decoder, "_read_piece", lambda who, ids, states: (lengths.append(len(ids)), read(who, ids, states))[1]
    )
    return lengths


@pytest.mark.parametrize("stepped", [False, True], ids=["by the model", "by the step"])
def test_a_known_beginning_is_not_read_again_and_changes_no_bit(
    model: Any, monkeypatch: pytest.MonkeyPatch, stepped: bool
) -> None:
    step = find_step(model) if stepped else None
    assert (step is not None) == stepped
    warm, cold = Decoder(model, step), Decoder(model, step, reuse=False)
    _greedy(warm, LONG)
    lengths = _read(monkeypatch, warm)
    for end in ([41, 42, 43], [44] * 70, LONG[-30:]):
        ids = LONG[: 2 * CPU_PIECE + 5] + end
        lengths.clear()
        logits = []
        for decoder in (warm, cold):
            states, known = decoder._begin(Identity("w"), ids)
            with torch.inference_mode():
                logits.append(decoder._read(Identity("w"), ids, known, states, lambda: False))
        assert torch.equal(logits[0], logits[1])
        assert sum(lengths) == len(ids) - 2 * CPU_PIECE
        _greedy(warm, ids)


def test_other_weights_share_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(model)
    _greedy(decoder, LONG, weights="one")
    lengths = _read(monkeypatch, decoder)
    _greedy(decoder, LONG, count=1, weights="two")
    assert sum(lengths) >= len(LONG)


def test_two_conversations_in_turn_both_keep_their_beginnings(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(model)
    first, second = LONG, LONG[::-1]
    for ids in (first, second):
        _greedy(decoder, ids)
    lengths = _read(monkeypatch, decoder)
    for ids in (first, second, first):
        lengths.clear()
        _greedy(decoder, ids, count=1)
        assert lengths[0] == len(ids) % CPU_PIECE


def test_only_so_many_conversations_and_bytes_are_kept(model: Any) -> None:
    decoder = Decoder(model)
    for start in range(10):
        _greedy(decoder, LONG[start:], count=1)
    memory = decoder._memory
    assert len(memory._kept) == 8
    memory._size = 2 * memory._kept[-1].size
    _greedy(decoder, LONG[11:], count=1)
    assert len(memory._kept) == 2


def test_idle_time_reads_the_answer_ahead(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(model)
    answer = _greedy(decoder, LONG, count=80)
    decoder.read_ahead(Identity("w"), LONG + answer, lambda: False)
    lengths = _read(monkeypatch, decoder)
    follow = [*LONG, *answer, 41, 42, 43]
    warm = _greedy(decoder, follow)
    assert lengths[0] == len(follow) % CPU_PIECE
    assert warm == _greedy(Decoder(model, reuse=False), follow)


def test_idle_time_with_nothing_new_to_read_costs_nothing(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer stopped after a few tokens, or none: everything up to the last cut is known."""
    decoder = Decoder(model)
    _greedy(decoder, LONG, count=3)
    lengths = _read(monkeypatch, decoder)
    for said in ([], [41, 42]):
        decoder.read_ahead(Identity("w"), LONG + said, lambda: False)
    assert lengths == []
    assert _greedy(decoder, LONG) == _greedy(Decoder(model, reuse=False), LONG)


def test_stop_is_heard_between_the_pieces_of_a_prompt(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(model)
    lengths = _read(monkeypatch, decoder)
    sampler = Sampler(Sampling(), LONG, VOCABULARY, torch.device("cpu"))
    assert list(decoder.tokens(Identity("w"), LONG, sampler, lambda: len(lengths) == 2)) == []
    assert lengths == [CPU_PIECE, CPU_PIECE]
    assert _greedy(decoder, LONG) == _greedy(Decoder(model, reuse=False), LONG)


def test_a_turn_that_is_known_is_not_read_again_wherever_it_ends(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token 5 ends a turn: the second question under one system prompt costs its own length."""
    identity = Identity("w", ends=frozenset({5}))
    system = [*LONG[:97], 5]
    warm, cold = Decoder(model), Decoder(model, reuse=False)
    with torch.inference_mode():
        first = warm.open(identity, [*system, 50, 51, 52], lambda: False)
        assert first is not None
        warm.close(first)
        lengths = _read(monkeypatch, warm)
        question = [*system, 60, 61, 62, 63]
        again = warm.open(identity, question, lambda: False)
        fresh = cold.open(identity, question, lambda: False)
    assert lengths == [4]
    assert again is not None
    assert fresh is not None
    assert torch.equal(again.logits, fresh.logits)


def test_a_window_wider_than_the_context_is_no_hindrance(tmp_path: Path) -> None:
    model = _load(make_tiny_model(tmp_path / "phi3", "phi3"))
    model.config.sliding_window = model.config.max_position_embeddings
    decoder = Decoder(model)
    _greedy(decoder, LONG, count=1)
    assert decoder._memory._kept
    model.config.sliding_window = 64
    narrow = Decoder(model)
    _greedy(narrow, LONG, count=1)
    assert not narrow._memory._kept
