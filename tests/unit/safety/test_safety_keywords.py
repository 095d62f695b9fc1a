"""The user's own keywords: any script, hyphen or form; regular expressions and punctuation mean nothing."""

from __future__ import annotations

import pytest

from medlora.safety import Level, Policy, assess
from medlora.safety.inflections import stem


def is_found(keyword: str, text: str) -> bool:
    policy = Policy.from_settings({"defer_keywords": [keyword], "safety_keywords": []})
    decision = assess([{"role": "user", "content": text}], policy)
    return any(f.concept == f"keyword:{keyword}" and f.level >= Level.DEFER for f in decision.findings)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("self-injection", "do I do the self injection at home"),
        ("self-injection", "selfinjection training dates"),
        ("X-ray", "my xray result"),
        ("xray", "my x-ray result"),
        ("blood thinner", "my bloodthinner ran out"),
        ("St John's wort", "is St. John’s wort ok"),
        ("crohn's", "diet for crohns"),
        ("café", "opens the cafe soon"),
        ("Ménière", "meniere attacks and salt"),
        ("肺癌", "我父亲有肺癌怎么办"),
        ("がん", "母は胃がんです"),
        ("암", "저는 폐암입니다"),
        (
            "سرطان",
            "والدي مصاب بالسرطان",
        ),
        (
            "инсульт",
            "после инсульта прошло три дня",
        ),
        ("💊", "which 💊?"),
        ("5-FU", "I take 5 fu now"),
        ("COVID-19", "I had covid 19"),
        ("TB", "my TB test"),
        ("the", "is the door open"),
        ("child", "the children play"),
        ("diagnosis", "two diagnoses"),
        ("bleed", "it bled"),
        ("Blutung", "meine Blutungen"),
        ("stop medicine", "can I stop my medicine"),
    ],
)
def test_a_keyword_is_found_in_every_form_it_is_written_in(keyword: str, text: str) -> None:
    assert is_found(keyword, text)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        (".*", "hello there"),
        ("(", "hello (there)"),
        ("\\d+", "hello 5"),
        ("   ", "hello"),
        ("!!!", "wow!!!"),
        ("ED", "he walked home"),
        ("cat", "the category list"),
        ("pain", "I love painting"),
        ("cold", "I was scolded"),
        ("рак", "дурак он"),
        ("دم", "قدمي تؤلمني"),
        ("肺癌", "我父亲感冒怎么办"),
        ("therapist", "the rapist was caught"),
        ("dizzy", "I am not dizzy"),
        ("chest pain", "pain of the chest wall muscle, none today"),
    ],
)
def test_a_keyword_is_not_found_within_other_words_or_as_a_pattern(keyword: str, text: str) -> None:
    assert not is_found(keyword, text)


def test_a_keyword_written_twice_is_found_once() -> None:
    policy = Policy.from_settings({"defer_keywords": ["methotrexate", "Methotrexate", "methotrexate"]})
    decision = assess([{"role": "user", "content": "can I take methotrexate"}], policy)
    assert [f.concept for f in decision.findings] == ["keyword:methotrexate"]


def test_a_thousand_keywords_are_all_looked_for() -> None:
    keywords = [f"agent {number}x" for number in range(1000)]
    policy = Policy.from_settings({"defer_keywords": keywords})
    decision = assess([{"role": "user", "content": "may I take agent 7x with agent 999x"}], policy)
    assert {f.concept for f in decision.findings} == {"keyword:agent 7x", "keyword:agent 999x"}


def test_inflected_forms_share_a_stem() -> None:
    for one, other in [
        ("die", "dying"),
        ("tooth", "teeth"),
        ("metastasis", "metastases"),
        ("stop", "stopped"),
    ]:
        assert stem(one) == stem(other)
