"""The three functions of the manual: load_config, validate_config, estimate_memory_usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import medlora
from medlora import load_config, validate_config
from medlora.errors import ConfigError, NotFoundError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("LORA_RANK", "LORA_LEARNING_RATE", "LORA_BATCH_SIZE", "MEDLORA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_a_file_the_shipped_default_is_loaded() -> None:
    config = load_config()
    assert config["model"]["base_model_name"] == "microsoft/Phi-4-mini-instruct"
    assert config["training"]["learning_rate"] == 1e-4
    assert isinstance(config["training"]["learning_rate"], float)
    assert config["model"]["quantization_config"]["load_in_4bit"] is True
    json.dumps(config)


def test_a_config_yaml_in_the_current_folder_comes_first(here: Path) -> None:
    (here / "config.yaml").write_text("base_template: default\noverrides: {lora: {r: 5}}\n")
    assert load_config()["lora"]["r"] == 5


@pytest.mark.parametrize("name", ["config.dev.yaml", "config.prod.yaml", "config.test.yaml"])
def test_an_environment_file_is_found_among_the_shipped_ones_and_here_first(here: Path, name: str) -> None:
    assert load_config(name)["lora"]["r"] in (8, 16, 32)
    (here / name).write_text("lora: {r: 5}\n")
    assert load_config(name)["lora"]["r"] == 5


def test_a_file_elsewhere_is_loaded_by_its_path(here: Path) -> None:
    (here / "deep").mkdir()
    (here / "deep" / "x.yaml").write_text("lora: {r: 5}\n")
    assert load_config(here / "deep" / "x.yaml")["lora"]["r"] == 5
    assert load_config("starter")["model"]["base_model_name"] == "starter"


def test_a_missing_file_says_where_it_was_sought(here: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"nope\.yaml: there is no such file \(looked in .*\); check the name"
    ):
        load_config("nope.yaml")


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_LEARNING_RATE", "2e-4")
    monkeypatch.setenv("LORA_RANK", "64")
    monkeypatch.setenv("LORA_BATCH_SIZE", "4")
    config = load_config()
    assert config["training"]["learning_rate"] == 2e-4
    assert config["training"]["per_device_train_batch_size"] == 4
    assert config["lora"]["r"] == 64
    assert validate_config(config) == []


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_RANK", "many")
    with pytest.raises(ConfigError, match=r"^env LORA_RANK: lora\.r: must be a whole number"):
        load_config()


def _valid(here: Path) -> dict[str, Any]:
    (here / "mine.jsonl").write_text("{}\n")
    return {"model": {"base_model_name": "starter"}, "lora": {"r": 8}, "data": {"dataset_path": "mine.jsonl"}}


def test_a_good_configuration_has_no_errors(here: Path) -> None:
    assert validate_config(_valid(here)) == []
    assert validate_config(load_config()) == []


def test_the_manuals_three_checks_keep_their_words(here: Path) -> None:
    assert validate_config({}) == [
        "Missing required field: model.base_model_name",
        "Missing required field: data.dataset_path",
        "LoRA rank must be positive",
    ]
    config = _valid(here)
    config["lora"]["r"] = 0
    config["data"]["dataset_path"] = "./gone.jsonl"
    assert validate_config(config) == ["LoRA rank must be positive", "Dataset path not found: ./gone.jsonl"]


def test_everything_else_is_checked_too(here: Path) -> None:
    config = _valid(here)
    config["training"] = {"learning_rate": -1, "fp16": True, "bf16": True, "epochs": 3}
    config["extra"] = {"x": 1}
    assert validate_config(config) == [
        "training.epochs: there is no setting of that name; did you mean training.num_train_epochs?",
        "extra.x: there is no setting of that name; "
        "the file can hold model, lora, training, data, safety, inference, evaluation",
        "training.learning_rate: must be a number above 0 (got -1); for example 1e-4",
        "training.bf16: fp16 and bf16 cannot both be true; keep one (bf16 where the GPU has it)",
    ]


@pytest.mark.parametrize(
    "config", [{"lora": 5}, {"lora": {"r": "x"}}, {"lora": None}, {"data": []}, {"model": {}}]
)
def test_odd_shapes_are_errors_and_not_crashes(config: dict[str, Any]) -> None:
    assert len(validate_config(config)) >= 2


def test_a_section_that_is_no_table_is_said_to_be_one(here: Path) -> None:
    assert "training: must hold settings (got 5)" in validate_config({**_valid(here), "training": 5})


def test_no_quantization_is_valid_as_none(here: Path) -> None:
    config = _valid(here)
    config["model"]["quantization_config"] = None
    assert validate_config(config) == []


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'medlora' has no attribute 'nonsense'"):
        _ = medlora.nonsense
