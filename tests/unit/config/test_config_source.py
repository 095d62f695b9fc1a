"""Strict YAML: whatever could mean two things is refused at its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from medlora.config.source import parse_source, read_text
from medlora.errors import ConfigError


def _said(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_source(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora:\n  r: 8\n  r: 16\n", "c.yaml:3:3: r: set twice, here and in line 2; keep one of the two"),
        (
            "lora: &a\n  r: 8\n",
            "c.yaml:1:7: an anchor (got &a); delete it, and write the value out where it is used",
        ),
        (
            "lora:\n  r: !!int 8\n",
            "c.yaml:2:6: a tag (got tag:yaml.org,2002:int); delete it, and write the plain value",
        ),
        (
            "lora:\n  r: 8\n---\nlora:\n",
            "c.yaml:3:1: a second document starts here; keep one configuration per file, without `---`",
        ),
        ("lora:\n\tr: 8\n", "c.yaml:2:1: the line is indented with a tab; use spaces"),
        ("", "c.yaml:1:1: there are no settings in it; write lines such as `lora:`"),
        ("# only words\n", "c.yaml:1:1: there are no settings in it; write lines such as `lora:`"),
        ("- a\n- b\n", "c.yaml:1:1: the text is not a list of settings; write lines such as `lora:`"),
        ("just text", "c.yaml:1:1: the text is not a list of settings; write lines such as `lora:`"),
        ("lora: [1, 2\n", "c.yaml:2:1: a bracket is not closed, or a comma is missing"),
        (
            "a: b: c\n",
            "c.yaml:1:5: a second `:` in the line, or a wrong indent; put the text in quotes, "
            "or line the key up",
        ),
        ('a: "open\n', "c.yaml:2:1: a quote is not closed; close it"),
        ("? [a]\n: b\n", "c.yaml:1:3: a key must be a plain word, not a list or a table"),
        ("a: 1\nb: \x07\n", "c.yaml:2:1: an invisible control character (code 7); delete it"),
    ],
)
def test_a_text_that_is_not_plain_settings_is_refused_at_its_place(text: str, message: str) -> None:
    assert message in _said(text)


def test_an_object_tag_never_makes_an_object() -> None:
    said = _said("lora: !!python/object/apply:os.system ['true']\n")
    assert said == [
        "c.yaml:1:7: a tag (got tag:yaml.org,2002:python/object/apply:os.system); "
        "delete it, and write the plain value"
    ]


def test_every_problem_is_reported_at_once() -> None:
    said = _said("a: &x 1\nb: *x\nc: !t 2\nc: 3\n")
    assert [line.split(": ", 1)[0] for line in said] == [
        "c.yaml:1:4",
        "c.yaml:2:4",
        "c.yaml:3:4",
        "c.yaml:4:1",
    ]


def test_a_bomb_of_aliases_is_refused_in_no_time() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for last, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]")
    begin = time.perf_counter()
    assert len(_said("\n".join(lines))) > 9
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5000, "{a: " * 3000, "\n".join(" " * n + "a:" for n in range(300))]
)
def test_nesting_beyond_reason_is_refused_without_a_crash(text: str) -> None:
    assert any("nested more than 12 levels deep; no setting needs that" in said for said in _said(text))


def test_a_text_larger_than_any_configuration_is_refused_unread(tmp_path: Path) -> None:
    message = "c.yaml: larger than 64 KB; a configuration needs a few, so shorten it"
    assert _said("# " + "x" * 70_000) == [message]
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(ConfigError, match=message):
        read_text(path, "c.yaml")


def test_a_file_that_is_not_utf_8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"lora:\n  r: \xff\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: not UTF-8 text at byte 11; save it as UTF-8"):
        read_text(path, "c.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"x.yaml: cannot be read \(No such file or directory\); check the path"
    ):
        read_text(tmp_path / "x.yaml", "x.yaml")


def test_byte_order_marks_and_windows_line_ends_change_nothing() -> None:
    table = parse_source("\ufefflora:\r\n  r: 8\r\n", "c.yaml")
    key, node = table.entries["lora"][1].entries["r"]  # type: ignore[attr-defined]
    assert (str(key.mark), node.value) == ("c.yaml:2:3", 8)
