"""Text is folded with its places kept; slips are put right over the critical words alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.safety.catalogue import load_catalogue
from medlora.safety.encoded import reveal
from medlora.safety.normalise import fold
from medlora.safety.tokens import Tokens
from medlora.safety.typos import TypoIndex, edit_distance


def _words(text: str) -> list[str]:
    return load_catalogue().tokenizer.read(text, 0, Tokens()).words


def test_zero_width_look_alike_and_styled_letters_are_folded_with_their_places() -> None:
    text = "su\u200bi\u0441ide 𝓱𝓮𝓵𝓹"
    folded = fold(text)
    assert folded.text == "suicide help"
    start = folded.text.index("help")
    assert text[slice(*folded.span(start, start + 4))] == "𝓱𝓮𝓵𝓹"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_every_folded_span_lies_inside_the_original(text: str) -> None:
    folded = fold(text)
    for place in range(len(folded.text)):
        start, end = folded.span(place, place + 1)
        assert 0 <= start < end <= len(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_tokens_carry_places_in_order(text: str) -> None:
    tokens = load_catalogue().tokenizer.read(text, 0, Tokens())
    assert all(0 <= a < b <= len(text) for a, b in zip(tokens.starts, tokens.ends, strict=True))
    assert tokens.sentences == sorted(tokens.sentences)


def test_contractions_repeats_and_spelt_out_words_become_plain() -> None:
    assert _words("I cant, can't, CANNOT") == ["i", "can", "not", ",", "can", "not", ",", "can", "not"]
    assert _words("heeeelp chessst")[-1] == "chest"
    assert _words("k i l l m y s e l f") == ["kill", "myself"]
    assert _words("su1c1de") == ["suicide"]


def test_a_slip_is_put_right_only_over_critical_words() -> None:
    index = TypoIndex(["chest", "breathing", "seizure"], ["chess", "creating"])
    assert index.correct("chset") == "chest"
    assert index.correct("braething") == "breathing"
    assert index.correct("siezure") == "seizure"
    assert index.correct("chess") is None
    assert index.correct("creating") is None
    assert index.correct("chat") is None


def test_the_distance_counts_a_swap_as_one() -> None:
    assert edit_distance("chset", "chest", 2) == 1
    assert edit_distance("abc", "xyz", 1) == 2


def test_abbreviations_are_read_by_their_neighbours() -> None:
    assert _words("pt with sob and cp")[2:] == ["short", "of", "breath", "and", "chest", "pain"]
    assert "chest" not in _words("the cp of this product")


def test_base64_is_read_and_ordinary_long_words_are_not() -> None:
    assert reveal("aSB3YW50IHRvIGtpbGwgbXlzZWxm")[0][0] == "i want to kill myself"
    assert reveal("internationalisation pneumonoultramicroscopic") == []
