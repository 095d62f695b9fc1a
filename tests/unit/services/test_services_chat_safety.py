"""A chat obeys an adapter's settings and those in force here, whichever is stricter."""

from medlora.config.schema import Config
from medlora.safety import Policy
from medlora.services.chat_safety import join_safety

DEFAULTS = Config().safety.model_dump(mode="json")


def test_words_added_since_an_adapter_was_trained_count_for_it() -> None:
    joined = join_safety({**DEFAULTS, "defer_keywords": ["rash"]}, {**DEFAULTS, "defer_keywords": ["knee"]})
    assert joined["defer_keywords"] == ["rash", "knee"]
    assert joined["safety_keywords"] == DEFAULTS["safety_keywords"]


def test_a_laxer_configuration_does_not_loosen_an_adapter_nor_the_other_way_round() -> None:
    lax, firm = {**DEFAULTS, "content_filter": False}, {**DEFAULTS, "strict": True, "semantic": True}
    for joined in (join_safety(lax, firm), join_safety(firm, lax)):
        assert (joined["content_filter"], joined["strict"], joined["semantic"]) == (True, True, True)
    assert join_safety(lax, lax)["content_filter"] is False


def test_the_numbers_are_those_of_the_place_and_the_adapters_where_it_names_none() -> None:
    own = {**DEFAULTS, "country": "US", "messages": {"defer": "See {emergency}."}}
    assert join_safety(own, {**DEFAULTS, "country": "GB"})["country"] == "GB"
    kept = join_safety(own, DEFAULTS)
    assert (kept["country"], kept["messages"]) == ("US", own["messages"])
    assert Policy.from_settings(kept).messages.render("emergency").startswith("Call 911 now.")


def test_what_is_recorded_is_decided_here_and_the_system_prompt_is_the_adapters() -> None:
    own = {**DEFAULTS, "audit_raw_text": True, "system_prompt": "Be kind."}
    joined = join_safety(own, {**DEFAULTS, "audit_raw_text": False, "system_prompt": "Be brief."})
    assert (joined["audit_raw_text"], joined["system_prompt"]) == (False, "Be kind.")
