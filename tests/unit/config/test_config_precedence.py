"""--set over environment over overrides over sections over templates over defaults, and every value knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlora.config.environment import SHORT_NAMES, environment_name
from medlora.config.layers import Entry, Layer
from medlora.config.merge import merge_layers
from medlora.config.resolve import Resolved, TemplateSearch
from medlora.config.schema import find_setting, setting_docs

Resolve = Callable[..., Resolved]
Refuse = Callable[..., list[str]]


def _rank(resolved: Resolved) -> tuple[int, str]:
    return resolved.config.lora.r, resolved.origins["lora.r"]


def test_a_default_counts_where_nothing_is_said(resolve: Resolve) -> None:
    assert _rank(resolve("training: {seed: 1}")) == (32, "default")


def test_a_template_counts_more_than_a_default(resolve: Resolve, search: TemplateSearch) -> None:
    (search.folders[0] / "a.yaml").write_text("lora:\n  r: 1\n")
    assert _rank(resolve("base_template: a")) == (1, "configs/a.yaml:2:3")


def test_a_later_template_counts_more_than_an_earlier_one(resolve: Resolve, search: TemplateSearch) -> None:
    (search.folders[0] / "a.yaml").write_text("lora: {r: 1, lora_alpha: 1}\n")
    (search.folders[0] / "b.yaml").write_text("lora: {r: 2}\n")
    resolved = resolve("base_template: [a, b]")
    assert _rank(resolved) == (2, "configs/b.yaml:1:8")
    assert resolved.origins["lora.lora_alpha"] == "configs/a.yaml:1:14"


def test_the_file_counts_more_than_its_templates(resolve: Resolve, search: TemplateSearch) -> None:
    (search.folders[0] / "a.yaml").write_text("overrides: {lora: {r: 1}}\n")
    assert _rank(resolve("base_template: a\nlora:\n  r: 3\n")) == (3, "c.yaml:3:3")


def test_overrides_count_more_than_sections(resolve: Resolve) -> None:
    text = "base_template: default\noverrides:\n  lora:\n    r: 4\nlora:\n  r: 3\n"
    assert _rank(resolve(text)) == (4, "c.yaml:4:5")


def test_the_environment_counts_more_than_overrides(resolve: Resolve) -> None:
    text = "base_template: default\noverrides: {lora: {r: 4}}\n"
    assert _rank(resolve(text, env={"LORA_RANK": "64"})) == (64, "env LORA_RANK")


def test_set_counts_more_than_the_environment(resolve: Resolve) -> None:
    assert _rank(resolve("lora: {r: 4}", env={"LORA_RANK": "64"}, sets=["lora.r=128"])) == (128, "--set")


def test_the_later_set_counts(resolve: Resolve) -> None:
    assert _rank(resolve("lora: {r: 4}", sets=["lora.r=1", "r=2"])) == (2, "--set")


def test_the_variables_of_the_manual_take_effect(resolve: Resolve) -> None:
    env = {"LORA_LEARNING_RATE": "2e-4", "LORA_BATCH_SIZE": "4", "LORA_RANK": "64", "LORA_ALPHA": "128"}
    config = resolve("training: {learning_rate: 1e-4}", env=env).config
    assert config.training.learning_rate == 2e-4
    assert config.training.per_device_train_batch_size == 4
    assert (config.lora.r, config.lora.lora_alpha) == (64, 128)


def test_every_setting_has_a_variable_that_reaches_it() -> None:
    names = {environment_name(doc.key) for doc in setting_docs()}
    assert len(names) == len(setting_docs())
    assert all(find_setting(key) for key in SHORT_NAMES.values())


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        (
            "MEDLORA_MODEL__QUANTIZATION_CONFIG__LOAD_IN_4BIT",
            "true",
            "model.quantization_config.load_in_4bit",
            True,
        ),
        ("MEDLORA_MODEL__QUANTIZATION_CONFIG", "null", "model.quantization_config.load_in_4bit", False),
        ("MEDLORA_LORA__TARGET_MODULES", "q_proj, o_proj", "lora.target_modules", ["q_proj", "o_proj"]),
        ("LORA_TARGET_MODULES", "[q_proj]", "lora.target_modules", ["q_proj"]),
        ("LORA_TARGET_MODULES", "all-linear", "lora.target_modules", "all-linear"),
        ("MEDLORA_SAFETY__SYSTEM_PROMPT", "yes: 'no' # 5", "safety.system_prompt", "yes: 'no' # 5"),
        ("MEDLORA_SAFETY__COUNTRY", "NO", "safety.country", "NO"),
        ("MEDLORA_TRAINING__EVAL_STEPS", "null", "training.eval_steps", None),
        ("MEDLORA_DATA__DATASET_PATH", "null", "data.dataset_path", None),
        ("LORA_RANK", "  8 ", "lora.r", 8),
    ],
)
def test_a_variable_is_read_by_the_kind_of_its_setting(
    resolve: Resolve, name: str, text: str, key: str, value: Any
) -> None:
    read: Any = resolve("lora: {r: 4}", env={name: text}).config
    for part in key.split("."):
        read = getattr(read, part)
    assert read == value


def test_an_empty_variable_counts_as_absent(resolve: Resolve) -> None:
    assert _rank(resolve("lora: {r: 4}", env={"LORA_RANK": " "}))[0] == 4


def test_the_long_name_counts_more_than_the_short_one(resolve: Resolve) -> None:
    resolved = resolve("lora: {r: 4}", env={"LORA_RANK": "8", "MEDLORA_LORA__R": "16"})
    assert _rank(resolved) == (16, "env MEDLORA_LORA__R")
    assert "env MEDLORA_LORA__R: lora.r: env LORA_RANK is set too; the longer name counts" in [
        str(notice) for notice in resolved.notices
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"env": {"LORA_RANK": "abc"}},
            "env LORA_RANK: lora.r: must be a whole number of at least 1 and at most 1024 (got 'abc'); "
            "for example 32",
        ),
        (
            {"env": {"MEDLORA_LORA__RANK": "8"}},
            "env MEDLORA_LORA__RANK: lora.rank: there is no setting of that name; did you mean lora.r?",
        ),
        (
            {"env": {"LORA_TARGET_MODULES": "[a, &b"}},
            "env LORA_TARGET_MODULES: lora.target_modules: not readable as a value; "
            'quote the texts inside, as in ["a b", c]',
        ),
        (
            {"sets": ["seed"]},
            "--set: must be key=value (got 'seed'); for example --set training.max_steps=20",
        ),
        (
            {"sets": ["seed=1"]},
            "--set: seed: there is no setting of that name; did you mean training.seed or inference.seed?",
        ),
    ],
)
def test_a_wrong_value_from_outside_names_where_it_came_from(
    refuse: Refuse, more: dict[str, Any], message: str
) -> None:
    assert refuse("lora: {r: 4}", **more) == [message]


def test_a_near_miss_in_the_environment_is_mentioned_and_other_names_are_not(resolve: Resolve) -> None:
    notices = resolve("lora: {r: 4}", env={"LORA_RANKS": "8", "LORA_WAN_GATEWAY": "x"}).notices
    assert [str(n) for n in notices if n.where.startswith("env")] == [
        "env LORA_RANKS: no setting listens to this name; did you mean LORA_RANK?"
    ]


def test_settings_that_exclude_each_other_follow_the_stronger_place(resolve: Resolve) -> None:
    config = resolve("base_template: default\noverrides: {training: {warmup_ratio: 0.1, bf16: true}}").config
    assert (config.training.warmup_steps, config.training.warmup_ratio) == (0, 0.1)
    assert (config.training.fp16, config.training.bf16) == (False, True)
    config = resolve("training: {warmup_ratio: 0.2}", sets=["warmup_steps=7"]).config
    assert (config.training.warmup_steps, config.training.warmup_ratio) == (7, 0.0)


def test_both_kinds_of_warmup_in_one_file_let_the_steps_count(resolve: Resolve) -> None:
    resolved = resolve("training:\n  warmup_ratio: 0.2\n  warmup_steps: 7\n")
    assert (resolved.config.training.warmup_steps, resolved.config.training.warmup_ratio) == (7, 0.0)
    assert str(resolved.notices[0]) == (
        "c.yaml:2:3: training.warmup_ratio: has no effect beside warmup_steps, which counts; "
        "delete one of the two"
    )


_KEYS = [
    doc.key
    for doc in setting_docs()
    if "warmup" not in doc.key and doc.key not in ("training.fp16", "training.bf16")
]
_LAYERS = st.lists(st.dictionaries(st.sampled_from(_KEYS), st.integers(), max_size=8), max_size=6)


@given(_LAYERS)
def test_the_last_layer_that_speaks_of_a_key_is_the_one_that_counts(layers: list[dict[str, int]]) -> None:
    made = [
        Layer({key: Entry(value, f"layer {index}") for key, value in layer.items()})
        for index, layer in enumerate(layers)
    ]
    merged = merge_layers(made).entries
    assert set(merged) == {key for layer in layers for key in layer}
    for key, entry in merged.items():
        last = max(index for index, layer in enumerate(layers) if key in layer)
        assert (entry.value, entry.where) == (layers[last][key], f"layer {last}")


@given(_LAYERS, _LAYERS)
def test_merging_in_two_goes_is_merging_in_one(
    first: list[dict[str, int]], second: list[dict[str, int]]
) -> None:
    def made(layers: list[dict[str, int]]) -> list[Layer]:
        return [Layer({key: Entry(value, "x") for key, value in layer.items()}) for layer in layers]

    def values(layer: Layer) -> dict[str, Any]:
        return {key: entry.value for key, entry in layer.entries.items()}

    together = merge_layers([*made(first), *made(second)])
    apart = merge_layers([merge_layers(made(first)), merge_layers(made(second))])
    assert values(together) == values(apart)
