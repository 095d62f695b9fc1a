"""Values become words, and foreign text becomes inert."""

import pytest

from medlora.ui import present


def test_html_of_a_dataset_is_shown_as_characters() -> None:
    assert present.text('<img src=x onerror="alert(1)">') == "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;"


def test_a_file_name_cannot_hide_its_ending() -> None:
    assert (
        present.text("report\u202egpj.exe\x00")
        == "report\N{REPLACEMENT CHARACTER}gpj.exe\N{REPLACEMENT CHARACTER}"
    )


def test_markdown_keeps_its_formatting_but_loses_pictures_links_and_tags() -> None:
    shown = present.markdown("**b** ![x](https://evil.example/p.png) <script>1</script> www.evil.example")
    assert shown == (
        "**b** !&#91;x](https:&#47;&#47;evil.example/p.png) "
        "&lt;script&gt;1&lt;/script&gt; www&#46;evil.example"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (0, "0"),
        (1234, "1,234"),
        (0.48213, "0.482"),
        (2.0, "2"),
        (0.0001, "1.0e-4"),
        (1234.6, "1,235"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, words: str) -> None:
    assert present.number(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (185, "3 min"),
        (3600, "1 h 0 min"),
        (5400, "1 h 30 min"),
    ],
)
def test_times_are_written_for_people(seconds: float | None, words: str) -> None:
    assert present.duration(seconds) == words


def test_a_count_agrees_with_its_noun() -> None:
    assert [present.count(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert present.count(2, "entry", "entries") == "2 entries"


def test_a_table_escapes_every_cell_and_its_caption() -> None:
    shown = present.table(["<a>"], [("<b>",)], caption="<c>")
    assert "&lt;a&gt;" in shown and "&lt;b&gt;" in shown and "&lt;c&gt;" in shown
    assert "<a>" not in shown and "<b>" not in shown


def test_a_check_says_its_mark_in_words_too() -> None:
    assert 'aria-label="problem"' in present.checklist([("Memory", "problem", "too little")])


def test_progress_stays_between_none_and_all() -> None:
    assert 'aria-valuenow="100"' in present.progress(1.7, "done")
    assert "progressbar" not in present.progress(None, "working")
