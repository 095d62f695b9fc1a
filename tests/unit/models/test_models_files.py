from __future__ import annotations

import json

import pytest

from medlora.errors import UserError
from medlora.models.files import find_model, model_at_hand, read_facts, read_model_config
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_model


@pytest.fixture
def ws(tmp_path, monkeypatch):
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return Workspace.open(tmp_path / "home")


def test_a_folder_is_a_model_when_it_is_complete(ws, tmp_path):
    folder = make_tiny_model(tmp_path / "tiny", family="phi3")
    files = find_model(ws, str(folder))
    assert (files.name, files.path, files.revision) == (str(folder), folder, None)
    facts = read_facts(ws, str(folder))
    assert (facts.model_type, list(facts.linear_modules)) == (
        "phi3",
        ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    )
    (folder / "model.safetensors").unlink()
    assert not model_at_hand(ws, str(folder))


def test_a_sharded_model_needs_every_shard(ws, tmp_path):
    folder = make_tiny_model(tmp_path / "tiny", family="llama")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_model(ws, str(folder)) is None
    (folder / "model-2.safetensors").touch()
    assert find_model(ws, str(folder)) is not None


def test_a_model_in_the_hub_cache_is_found_with_its_commit(ws, tmp_path):
    repository = tmp_path / "hub" / "models--own--model"
    snapshot = repository / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    make_tiny_model(snapshot, family="llama")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    files = find_model(ws, "own/model")
    assert (files.path, files.revision) == (snapshot, "abc")
    assert find_model(ws, "own/other") is None


@pytest.mark.parametrize(
    "name", ["", "starter", "nothing", "../..", "a/b/c", "own/..", "/no/such/folder", "a\0b"]
)
def test_a_name_that_is_not_here_is_none(ws, name):
    assert find_model(ws, name) is None


def test_shipped_names_have_facts_before_anything_is_fetched(ws):
    assert read_facts(ws, "microsoft/Phi-4-mini-instruct").model_type == "phi3"
    assert read_facts(ws, "starter").layers == 30
    assert read_facts(ws, "own/unknown") is None


def test_a_config_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError) as caught:
        read_model_config(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'config.json'}: it is not a JSON object"
