"""Adapters come and go over one base model, and nothing damaged or foreign gets in."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medlora.inference import weights
from medlora.inference.engine import Engine
from medlora.inference.low_rank import Voice
from medlora.inference.protocol import AdapterFiles, BaseModel, Request, RequestError, Sampling
from tests.speaking_models import QUESTION, SAYS, attach_lora, publish_adapter
from tests.tiny_models import make_tiny_model

# PEFT asks transformers for a property that transformers has renamed.
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
Events = list[tuple[str, dict[str, Any]]]


def _request(base: Path, adapter: Path | None, count: int = 40) -> Request:
    return Request(
        BaseModel("tiny", str(base)),
        AdapterFiles(adapter.name, str(adapter)) if adapter else None,
        ({"role": "user", "content": QUESTION},),
        Sampling(max_new_tokens=count),
    )


def _ask(engine: Engine, base: Path, adapter: Path | None = None, count: int = 40) -> Events:
    events: Events = []
    request = _request(base, adapter, count)
    engine.generate(request, lambda event, **fields: events.append((event, fields)), lambda: False)
    return events


def _text(events: Events) -> str:
    return "".join(fields["text"] for event, fields in events if event == "text")


def _of(events: Events, kind: str) -> list[dict[str, Any]]:
    return [fields for event, fields in events if event == kind]


@pytest.fixture(scope="module")
def second_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with random weights, on other modules and of another rank."""
    torch.manual_seed(3)
    adapted = attach_lora(tiny_base, r=4, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    return publish_adapter(adapted, tiny_base, tmp_path_factory.mktemp("second") / "second")


def test_adapters_switch_without_loading_the_base_again_and_leave_it_as_it_was(
    tiny_base: Path, tiny_adapter: Path, second_adapter: Path
) -> None:
    engine = Engine()
    before = _ask(engine, tiny_base)
    assert _of(before, "stage") == [{"stage": "loading_model"}]
    first = _ask(engine, tiny_base, tiny_adapter)
    assert _text(first) == SAYS
    assert _of(first, "stage") == [{"stage": "loading_adapter"}]
    other = _text(_ask(engine, tiny_base, second_adapter))
    again = _ask(engine, tiny_base, tiny_adapter)
    assert (_text(again), _of(again, "stage")) == (SAYS, [])
    assert _text(_ask(engine, tiny_base)) == _text(before) not in (SAYS, other)
    assert _text(_ask(Engine(), tiny_base, second_adapter)) == other


def test_after_an_idle_moment_the_next_question_costs_its_own_length(
    tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    assert _text(_ask(engine, tiny_base, tiny_adapter)) == SAYS
    engine.idle(lambda: False)
    request = _request(tiny_base, tiny_adapter, count=1)
    turns = [
        *request.messages,
        {"role": "assistant", "content": SAYS},
        {"role": "user", "content": "And then?"},
    ]
    ready = engine._weights.prepare(request.base, request.adapter, print)
    lengths: list[int] = []
    read = ready.decoder._read_piece
    monkeypatch.setattr(
        ready.decoder,
        "_read_piece",
        lambda who, ids, states: (lengths.append(len(ids)), read(who, ids, states))[1],
    )
    engine.generate(replace(request, messages=tuple(turns)), lambda event, **fields: None, lambda: False)
    known = ready.tokenizer.encode_record(turns[:2]).ids
    while known[-1] not in ready.stops:
        known.pop()
    assert sum(lengths) == len(ready.tokenizer.encode_prompt(turns)) - len(known)


def test_the_label_is_the_hash_of_the_bytes_that_were_loaded(tiny_base: Path, tiny_adapter: Path) -> None:
    engine = Engine()
    weights = hashlib.sha256((tiny_adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert _of(_ask(engine, tiny_base, tiny_adapter), "start")[0]["label"] == {
        "base": "tiny",
        "adapter": "kind",
        "weights": weights[:12],
        "precision": "32-bit",
    }
    base = hashlib.sha256((tiny_base / "model.safetensors").read_bytes()).hexdigest()
    assert _of(_ask(engine, tiny_base), "start")[0]["label"] == {
        "base": "tiny",
        "adapter": None,
        "weights": base[:12],
        "precision": "32-bit",
    }


def test_an_adapter_published_anew_under_its_old_name_answers_with_its_new_weights(
    tiny_base: Path, tiny_adapter: Path, second_adapter: Path, tmp_path: Path
) -> None:
    engine, folder = Engine(), tmp_path / "kind"
    shutil.copytree(second_adapter, folder)
    old = _ask(engine, tiny_base, folder)
    shutil.rmtree(folder)
    shutil.copytree(tiny_adapter, folder)
    new = _ask(engine, tiny_base, folder)
    assert _text(new) == SAYS != _text(old)
    assert _of(new, "start")[0]["label"] != _of(old, "start")[0]["label"]


def test_more_adapters_than_are_kept_still_answer(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    engine = Engine()
    for number in range(6):
        folder = tmp_path / f"copy-{number}"
        shutil.copytree(tiny_adapter, folder)
        tensors = load_file(folder / "adapter_model.safetensors")
        tensors = {name: tensor * (1 + 1e-4 * number) for name, tensor in tensors.items()}
        save_file(tensors, folder / "adapter_model.safetensors")
        assert _text(_ask(engine, tiny_base, folder)) == SAYS
    assert _text(_ask(engine, tiny_base, tmp_path / "copy-0")) == SAYS


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base with biases, and an adapter that brings others."""
    base = make_tiny_model(tmp_path_factory.mktemp("biased") / "base", "qwen2")
    adapted = attach_lora(base, r=4, target_modules=["q_proj"], bias="all", init_lora_weights=False)
    for name, weight in adapted.named_parameters():
        if name.endswith("q_proj.base_layer.bias"):
            weight.data.fill_(2.0)
    return base, publish_adapter(adapted, base, base.parent / "adapter")


def test_an_adapter_that_replaces_biases_of_the_base_leaves_no_trace(biased: tuple[Path, Path]) -> None:
    base, folder = biased
    engine = Engine()
    before = _text(_ask(engine, base))
    changed = _text(_ask(engine, base, folder))
    assert changed != before
    assert _text(_ask(engine, base, folder)) == changed
    assert _text(_ask(engine, base)) == before


def test_biases_that_were_trained_in_another_precision_fit_the_base(
    biased: tuple[Path, Path], tmp_path: Path
) -> None:
    base, folder = biased
    halved = shutil.copytree(folder, tmp_path / "halved")
    path = halved / "adapter_model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(path).items()}, path)
    events = _ask(Engine(), base, halved, count=4)
    assert events[-1][0] == "done"


def test_side_by_side_no_base_is_changed_under_an_answer_that_waits(biased: tuple[Path, Path]) -> None:
    base, folder = biased
    asked = [None, folder, None]
    alone = [_text(_ask(Engine(), base, adapter)) for adapter in asked]
    events: Events = []
    Engine().compare(
        [_request(base, adapter) for adapter in asked],
        lambda event, **fields: events.append((event, fields)),
        lambda: False,
    )
    together = ["".join(each["text"] for each in _of(events, "text") if each["of"] == n) for n in range(3)]
    assert together == alone
    assert together[0] != together[1]


@pytest.mark.parametrize("way", ["dora", "unproved"])
def test_an_adapter_that_does_more_answers_with_the_whole_model_and_says_so_once(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    torch.manual_seed(4)
    adapted = attach_lora(
        tiny_base,
        r=4,
        target_modules=["q_proj", "down_proj"],
        init_lora_weights=False,
        use_dora=way == "dora",
    )
    folder = publish_adapter(adapted, tiny_base, tmp_path / "more")
    if way == "unproved":
        monkeypatch.setattr(weights, "find_voice", lambda adapted, key, step: Voice())
    engine = Engine()
    first = _ask(engine, tiny_base, folder)
    assert _of(first, "notice") == [
        {"message": "Answers of this adapter are written at the usual speed: the faster way does not fit it."}
    ]
    again = _ask(engine, tiny_base, folder)
    assert (_of(again, "notice"), _text(again)) == ([], _text(first))
    adapted.eval().generation_config.eos_token_id = None
    ready = engine._weights.prepare(_request(tiny_base, folder).base, None, print)
    prompt = torch.tensor([ready.tokenizer.encode_prompt([{"role": "user", "content": QUESTION}])])
    made = adapted.generate(
        input_ids=prompt, attention_mask=prompt * 0 + 1, max_new_tokens=40, do_sample=False
    )
    said = made[0, prompt.shape[1] :].tolist()
    ends = [place for place, token in enumerate(said) if token in ready.stops]
    assert _text(first) == ready.tokenizer.decode(said[: ends[0] if ends else None])


def test_a_model_without_a_step_answers_and_says_so_once(tmp_path: Path) -> None:
    base, engine = make_tiny_model(tmp_path / "gemma2", "gemma2"), Engine()
    assert _of(_ask(engine, base, count=3), "notice") == [
        {"message": "Answers of this model are written at the usual speed: the faster way does not fit it."}
    ]
    assert _of(_ask(engine, base, count=3), "notice") == []


def _edit_settings(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def _edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


def _pickle(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")


def _lose_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(iter(tensors))]


def _poison(tensors: dict[str, torch.Tensor]) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name].clone().fill_(float("nan"))


def _other_base(folder: Path) -> None:
    (folder / "provenance.json").write_text(
        json.dumps({"base_model": {"name": "tiny", "weight_hash": "0" * 64}}), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_pickle, "adapter bad: adapter_model.safetensors is missing; only safetensors files are loaded"),
        (
            lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\x08"),
            "adapter bad: its files cannot be read (SafetensorError); publish it again",
        ),
        (
            lambda folder: (folder / "adapter_config.json").write_text("{", encoding="utf-8"),
            "adapter bad: adapter_config.json cannot be read (JSONDecodeError)",
        ),
        (
            lambda folder: _edit_settings(folder, peft_type="PROMPT_TUNING"),
            "adapter bad: only LoRA adapters can be used (got 'PROMPT_TUNING')",
        ),
        (
            lambda folder: _edit_settings(folder, r=5),
            "adapter bad: it does not fit the model tiny; choose the base model it was trained on",
        ),
        (
            lambda folder: _edit_settings(folder, target_modules=["q_proj"]),
            "adapter bad: its weights and its settings do not agree (24 too many, 0 missing); "
            "publish it again",
        ),
        (
            lambda folder: _edit_weights(folder, _lose_one),
            "adapter bad: its weights and its settings do not agree (0 too many, 1 missing); "
            "publish it again",
        ),
        (
            _other_base,
            "adapter bad: it was trained on other weights than this copy of tiny holds; "
            "choose the base model it was trained on",
        ),
    ],
    ids=["pickle", "torn", "settings", "kind", "rank", "too-many", "missing", "base"],
)
def test_a_damaged_or_foreign_adapter_is_refused_and_the_base_still_answers(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    engine, folder = Engine(), tmp_path / "bad"
    shutil.copytree(tiny_adapter, folder)
    damage(folder)
    good = _text(_ask(engine, tiny_base, tiny_adapter))
    with pytest.raises(RequestError) as refused:
        _ask(engine, tiny_base, folder)
    assert str(refused.value) == message
    assert _text(_ask(engine, tiny_base, tiny_adapter)) == good


def test_weights_that_are_not_finite_are_refused_by_name(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(tiny_adapter, folder)
    _edit_weights(folder, _poison)
    with pytest.raises(RequestError, match=r"adapter bad: base_model\..*lora_.*not finite; train it again"):
        _ask(Engine(), tiny_base, folder)


def test_a_folder_that_is_no_model_is_refused_in_words(tmp_path: Path, tiny_base: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(RequestError, match="model tiny: its files cannot be loaded"):
        _ask(Engine(), tmp_path / "torn")
