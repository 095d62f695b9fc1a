"""Templates stand on one another, in any order that is not a circle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medlora.config.resolve import Resolved, TemplateSearch, resolve_file
from medlora.errors import ConfigError

Resolve = Callable[..., Resolved]
Refuse = Callable[..., list[str]]


@pytest.fixture
def own(search: TemplateSearch) -> Path:
    return search.folders[0]


def test_a_chain_of_templates_is_laid_from_its_bottom(resolve: Resolve, own: Path) -> None:
    (own / "a.yaml").write_text("base_template: default\noverrides: {lora: {r: 4, lora_alpha: 4}}\n")
    (own / "b.yaml").write_text("base_template: a\noverrides: {lora: {r: 5}}\n")
    config = resolve("base_template: b\noverrides: {lora: {lora_dropout: 0}}\n").config
    assert (config.lora.r, config.lora.lora_alpha, config.lora.lora_dropout) == (5, 4, 0.0)
    assert config.model.base_model_name == "microsoft/Phi-4-mini-instruct"


def test_two_templates_on_the_same_ground_both_count(resolve: Resolve) -> None:
    config = resolve("base_template: [gpu_6gb, medical_qa]").config
    assert config.training.per_device_train_batch_size == 1
    assert config.training.early_stopping_patience == 3


def test_overrides_alone_stand_on_default(resolve: Resolve) -> None:
    resolved = resolve("overrides: {lora: {r: 4}}")
    assert resolved.config.model.base_model_name == "microsoft/Phi-4-mini-instruct"
    assert "c.yaml:1:1: base_template: not set beside `overrides:`; read as base_template: default" in [
        str(notice) for notice in resolved.notices
    ]


def test_a_circle_is_refused_and_shown(refuse: Refuse, own: Path) -> None:
    (own / "a.yaml").write_text("base_template: b\n")
    (own / "b.yaml").write_text("# on a\nbase_template: a\n")
    assert refuse("base_template: a") == [
        "configs/b.yaml:2:16: base_template: the templates go round in a circle "
        "(c.yaml → configs/a.yaml → configs/b.yaml → configs/a.yaml); take one of them out"
    ]


def test_a_template_on_itself_is_refused(own: Path, search: TemplateSearch) -> None:
    (own / "a.yaml").write_text("base_template: a\n")
    with pytest.raises(ConfigError) as caught:
        resolve_file(own / "a.yaml", search=search)
    assert str(caught.value) == (
        "configs/a.yaml:1:16: base_template: the templates go round in a circle "
        "(configs/a.yaml → configs/a.yaml); take one of them out"
    )


def test_a_users_file_may_carry_the_name_of_the_template_it_stands_on(
    own: Path, search: TemplateSearch
) -> None:
    (own / "default.yaml").write_text("base_template: default\noverrides: {lora: {r: 7}}\n")
    config = resolve_file(own / "default.yaml", search=search).config
    assert (config.lora.r, config.training.num_train_epochs) == (7, 3)


def test_templates_beside_a_file_are_found_first(tmp_path: Path, search: TemplateSearch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "starter.yaml").write_text("lora: {r: 3}\n")
    (folder / "mine.yaml").write_text("base_template: starter\n")
    resolved = resolve_file(folder / "mine.yaml", search=search)
    assert resolved.config.lora.r == 3
    assert resolved.source_name == str(folder / "mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "base_template: startr",
            "c.yaml:1:16: base_template: there is no template of that name (got 'startr'); did "
            "you mean starter?",
        ),
        (
            "base_template: 5",
            "c.yaml:1:1: base_template: must be a template's name or a list of names (got 5)",
        ),
        (
            "base_template: default\noverrides: 5",
            "c.yaml:2:1: overrides: must hold sections such as `lora:` (got 5)",
        ),
        (
            "overrides: {base_template: default}",
            "c.yaml:1:13: base_template: stands inside `overrides:`; move it to the left margin",
        ),
    ],
)
def test_a_template_that_cannot_be_laid_is_named(refuse: Refuse, text: str, message: str) -> None:
    assert message in refuse(text)


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "a/b", "..", "C:\\x", "default\x00", ""])
def test_a_template_name_never_leaves_its_folder(search: TemplateSearch, name: str) -> None:
    (search.folders[0].parent / "secrets.yaml").write_text("lora: {r: 1}\n")
    assert search.find(name) is None


def test_a_problem_in_a_template_is_located_there(refuse: Refuse, own: Path) -> None:
    (own / "a.yaml").write_text("lora:\n  r: 0\n  x: 1\n")
    assert [line.split(": ", 1)[0] for line in refuse("base_template: a")] == [
        "configs/a.yaml:2:3",
        "configs/a.yaml:3:3",
    ]


def test_a_broken_template_is_located_there(refuse: Refuse, own: Path) -> None:
    (own / "a.yaml").write_text("lora: [\n")
    assert refuse("base_template: a")[0].startswith("configs/a.yaml:2:1: ")


def test_a_tower_of_templates_is_refused(refuse: Refuse, own: Path) -> None:
    for level in range(25):
        (own / f"t{level}.yaml").write_text(f"base_template: t{level + 1}\n")
    (own / "t25.yaml").write_text("lora: {r: 1}\n")
    assert "more than 20 templates stand on one another; use fewer" in refuse("base_template: t0")[0]
