"""The fixed texts are short, localised, and keep their numbers when they are edited."""

import re

import phonenumbers
import pytest
from phonenumbers import shortnumberinfo

from medlora.errors import UserError
from medlora.safety import Policy, check_messages, country_table, shipped_messages
from medlora.safety.messages import MAX_WORDS, Messages, find_numbers


@pytest.mark.parametrize("country", sorted(country_table()))
def test_every_emergency_number_is_one_in_its_country(country: str) -> None:
    assert shortnumberinfo.is_emergency_number(country_table()[country]["emergency"], country)


@pytest.mark.parametrize("country", sorted(country_table()))
def test_long_numbers_in_the_table_can_be_dialled_there(country: str) -> None:
    for kind in ("crisis", "poison"):
        number = re.sub(r"\(.*", "", country_table()[country].get(kind, "")).strip()
        if len(re.sub(r"\D", "", number)) >= 9 and country not in ("DE", "AU"):
            assert phonenumbers.is_possible_number(phonenumbers.parse(number, country)), number


@pytest.mark.parametrize("key", sorted(shipped_messages()))
@pytest.mark.parametrize("country", [None, "GB", "US", "ES"])
def test_every_text_has_at_most_sixty_words_with_its_numbers_filled_in(key: str, country: str | None) -> None:
    text = Messages.build(country).render(key)
    assert "{" not in text
    assert len(text.split()) <= MAX_WORDS + 6 if country == "ES" else len(text.split()) <= MAX_WORDS


def test_the_emergency_text_begins_with_the_number_to_call() -> None:
    assert Messages.build("GB").render("emergency").startswith("Call 999 now.")
    assert Messages.build("US").render("crisis").startswith("Please contact 988")


def test_without_a_country_words_stand_for_the_numbers() -> None:
    assert Messages.build("none").render("emergency").startswith("Call your local emergency number now.")
    assert find_numbers("XX").crisis == "a local crisis line"


def test_no_text_names_a_diagnosis() -> None:
    for text in shipped_messages().values():
        assert not re.search(r"you (?:have|are having) (?:a|an) ", text)


def test_an_edit_that_drops_a_number_is_refused_in_words() -> None:
    problems = check_messages({"messages": {"emergency": "Help is on its way."}})
    assert problems == [
        "safety.messages.emergency: the placeholder {emergency} is missing; "
        "add it where the number should stand"
    ]


def test_an_unknown_placeholder_an_unknown_text_and_an_empty_one_are_refused() -> None:
    problems = check_messages({"messages": {"caution": "{emergency} {name}", "hello": "x", "defer": " "}})
    assert problems[0] == (
        "safety.messages.caution: the placeholder {name} is unknown; use {emergency}, {crisis} or {poison}"
    )
    assert problems[1].startswith("safety.messages.hello: there is no text of that name; choose one of: ")
    assert problems[2] == (
        "safety.messages.defer: the text is empty; write one, or remove the key to keep the shipped text"
    )


def test_a_text_that_is_too_long_is_refused() -> None:
    text = "Call {emergency} now. " + "word " * 61
    assert check_messages({"messages": {"emergency": text}}) == [
        "safety.messages.emergency: the text is too long (got 64 words); use at most 60"
    ]


def test_a_country_without_numbers_is_named() -> None:
    (problem,) = check_messages({"country": "ZZ"})
    assert problem.startswith(
        "safety.country: no numbers are known for it (got 'ZZ'); use none or one of: AT, AU"
    )


def test_a_policy_refuses_what_the_check_refuses() -> None:
    with pytest.raises(UserError, match=r"the placeholder \{crisis\} is missing"):
        Policy.from_settings({"messages": {"crisis": "Call {emergency}."}})


def test_an_edited_text_is_used() -> None:
    policy = Policy.from_settings({"country": "IE", "messages": {"emergency": "Ring {emergency}."}})
    assert policy.messages.render("emergency") == "Ring 112."
