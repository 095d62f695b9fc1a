"""One setting changes in the text; every comment and every other line stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.config.edit import get_value, set_value
from medlora.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.mark.parametrize(
    ("before", "key", "value", "after"),
    [
        ("lora:\n  r: 8  # why\n", "lora.r", 16, "lora:\n  r: 16  # why\n"),
        ("lora:\n  r:   # why\n", "lora.r", 16, "lora:\n  r: 16   # why\n"),
        ("lora:\n  r: 8\n\n# end\n", "lora.bias", "all", "lora:\n  r: 8\n  bias: all\n\n# end\n"),
        ("lora: {r: 8}\n", "lora.bias", "all", "lora: {r: 8, bias: all}\n"),
        ("lora: {}\n", "lora.r", 8, "lora: {r: 8}\n"),
        ("lora:\n", "lora.r", 8, "lora:\n  r: 8\n"),
        ("lora: null # n\ndata: {}", "lora.r", 8, "lora: # n\n  r: 8\ndata: {}"),
        ("{lora: {r: 8}}", "training.seed", 1, "{lora: {r: 8}, training: {seed: 1}}"),
        ("", "lora.r", 8, "lora:\n  r: 8\n"),
        ("# mine\n", "lora.r", 8, "# mine\nlora:\n  r: 8\n"),
        ("lora:\n  r: 8", "training.seed", 1, "lora:\n  r: 8\n\ntraining:\n  seed: 1\n"),
        ("learning_rate: 1e-4 # x\n", "training.learning_rate", 2e-4, "learning_rate: 2.0e-4 # x\n"),
        (
            "base_template: default\n",
            "lora.r",
            8,
            "base_template: default\n\noverrides:\n  lora:\n    r: 8\n",
        ),
        (
            "overrides:\n  lora:\n    r: 8\nlora:\n  r: 4\n",
            "lora.r",
            16,
            "overrides:\n  lora:\n    r: 16\nlora:\n  r: 4\n",
        ),
        (
            "lora:\n  target_modules:\n    - a  # one\n    - b\n  r: 8\n",
            "lora.target_modules",
            ["c", "d"],
            "lora:\n  target_modules: [c, d]\n  r: 8\n",
        ),
        (
            "safety:\n  system_prompt: |\n    One\n    two\n  strict: true\n",
            "safety.system_prompt",
            "Three",
            "safety:\n  system_prompt: Three\n  strict: true\n",
        ),
        (
            "safety:\n  system_prompt: one  # c\n  strict: true\n",
            "safety.system_prompt",
            "One\n\n  two\n",
            "safety:\n  system_prompt: |  # c\n    One\n\n      two\n  strict: true\n",
        ),
        (
            "model:\n  quantization_config:\n    load_in_4bit: true\n",
            "model.quantization_config.bnb_4bit_quant_type",
            "fp4",
            "model:\n  quantization_config:\n    load_in_4bit: true\n    bnb_4bit_quant_type: fp4\n",
        ),
        ("lora:\r\n  r: 8\r\n", "lora.bias", "all", "lora:\r\n  r: 8\r\n  bias: all\r\n"),
        ("\ufefflora:\n  r: 8\n", "lora.r", 9, "\ufefflora:\n  r: 9\n"),
        ("training:\n  eval_steps: 5\n", "training.eval_steps", None, "training:\n  eval_steps: null\n"),
    ],
)
def test_a_change_touches_its_own_place_only(before: str, key: str, value: Any, after: str) -> None:
    assert set_value(before, key, value) == after


def test_what_the_text_does_not_say_is_none() -> None:
    assert get_value("lora: {r: 8}", "lora.r") == 8
    assert get_value("lora: {r: 8}", "lora.bias") is None
    assert get_value("# nothing\n", "lora.bias") is None


def test_a_text_that_cannot_be_read_is_not_changed() -> None:
    with pytest.raises(ConfigError):
        set_value("lora: [", "lora.r", 8)


_VALUES = st.one_of(
    st.tuples(st.sampled_from(["lora.r", "training.max_steps", "data.max_length"]), st.integers(-1, 10**6)),
    st.tuples(st.just("training.learning_rate"), st.floats(1e-9, 1e3)),
    st.tuples(st.just("model.quantization_config.load_in_4bit"), st.booleans()),
    st.tuples(
        st.just("safety.system_prompt"),
        st.text(st.sampled_from("ab :#'\"\n-|é{}[],&*!%@`"), max_size=60),
    ),
    st.tuples(st.just("safety.defer_keywords"), st.lists(st.text(st.sampled_from("ab :,]#'\""), max_size=9))),
)


@settings(deadline=None)
@given(st.sampled_from(sorted(CONFIGS.glob("*.yaml"))), st.lists(_VALUES, min_size=1, max_size=4))
def test_any_value_can_be_written_into_any_template(path: Path, changes: list[tuple[str, Any]]) -> None:
    before = path.read_text(encoding="utf-8")
    text = before
    for key, value in changes:
        text = set_value(text, key, value)
    for key, value in dict(changes).items():
        assert get_value(text, key) == value
    full_line_comments = [line for line in before.splitlines() if line.lstrip().startswith("# ")]
    assert set(full_line_comments) <= set(text.splitlines())
