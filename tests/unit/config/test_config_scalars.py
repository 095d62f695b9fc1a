"""Words become values by the rules of YAML 1.2, and values become words that every reader agrees on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medlora.config.scalars import read_scalar, write_scalar
from medlora.config.source import parse_source


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("2E-5", 2e-5),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("1e+4", 1e4),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("-1", -1),
        ("12:30:45", "12:30:45"),
        ("2026-01-02", "2026-01-02"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_a_word_means_what_people_expect(word: str, value: Any) -> None:
    read = read_scalar(word)
    assert read == value
    assert type(read) is type(value)


def test_infinity_and_not_a_number_are_numbers_for_the_schema_to_refuse() -> None:
    assert read_scalar("-.inf") == -math.inf
    assert math.isnan(read_scalar(".nan"))


def test_a_word_of_a_thousand_digits_is_not_turned_into_a_number() -> None:
    assert read_scalar("9" * 5000) == "9" * 5000


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1e-4, "1.0e-4"),
        (2.5e-5, "2.5e-5"),
        (0.1, "0.1"),
        (3.0, "3.0"),
        (True, "true"),
        (None, "null"),
        (["qkv_proj", "o_proj"], "[qkv_proj, o_proj]"),
        ("no", '"no"'),
        ("12:30", '"12:30"'),
        ("1e-4", '"1e-4"'),
        ("chest pain", "chest pain"),
        ("", '""'),
    ],
)
def test_a_value_is_written_plainly_where_it_can_be(value: Any, word: str) -> None:
    assert write_scalar(value) == word


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(10**12), 10**12),
        st.booleans(),
        st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=["Cs", "Cc"])),
    )
)
def test_what_is_written_reads_back_here_and_in_older_readers(value: Any) -> None:
    text = f"key: {write_scalar(value)}\n"
    node = parse_source(text, "x").entries["key"][1]
    assert node.value == value  # type: ignore[attr-defined]
    assert yaml.safe_load(text)["key"] == value
