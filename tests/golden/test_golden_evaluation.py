"""A real evaluation process on tiny weights: its figures, its end, what it refuses."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.services import evaluate
from medlora.services.evaluate import EvaluationView, EvaluationWish
from medlora.workspace import Workspace
from tests.speaking_models import QUESTION, SAYS, make_speaking_adapter
from tests.tiny_models import make_tiny_model


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A home with an adapter that learned one sentence, and a dataset that asks for it."""
    ws = Workspace.open(tmp_path_factory.mktemp("evaluation") / "home")
    folder = make_speaking_adapter(make_tiny_model(ws.home / "tiny"), ws.adapter("kind"), SAYS)
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    config = {
        "model": {"base_model_name": str(ws.home / "tiny")},
        "data": {"max_seq_length": 256, "min_length": 0},
        "safety": {"system_prompt": " "},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance | {"config": config}), encoding="utf-8")
    yield ws


def write_rows(path: Path) -> str:
    path.write_text(json.dumps({"question": QUESTION, "answer": SAYS}) + "\n", encoding="utf-8")
    return str(path)


def wait(ws: Workspace, evaluation_id: str) -> EvaluationView:
    deadline = time.monotonic() + 120
    while (seen := evaluate.view(ws, evaluation_id)).going:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def test_an_adapter_is_measured_beside_its_base_and_keeps_its_figures(ws: Workspace, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "asked.jsonl")
    wish = EvaluationWish("kind", data, rows=3, answers=2, longest=32, risky=2)
    seen = wait(ws, evaluate.start(ws, wish))
    assert (seen.status, seen.reason) == ("completed", None)
    result = evaluate.latest_result(ws, "kind")
    assert result is not None
    weights = (ws.adapter("kind") / "adapter_model.safetensors").read_bytes()
    assert result["adapter_sha256"] == hashlib.sha256(weights).hexdigest()
    assert result["dataset"]["rows"] == 1 and result["dataset"]["source"] == "another dataset"
    assert result["adapter"]["loss"] < result["base"]["loss"] - 1
    assert result["adapter"]["rouge_l"] > 0.9 > result["base"]["rouge_l"]
    assert result["difference"]["loss"]["value"] < -1 and result["adapter"]["loss_95"] is None
    assert result["deferral"]["set"] == "shipped" and result["deferral"]["recall"]["value"] > 0.99
    assert result["drift"]["prompts"] == 2 and "fired" in result["drift"]["adapter"]
    forecast = evaluate.forecast_s(ws, EvaluationWish("kind", data, rows=6, answers=2, longest=64, risky=2))
    each = result["seconds_each"]
    assert forecast == pytest.approx(2 * (6 * each["loss"] + 2 * 2 * each["answer"] + 2 * 2 * each["risky"]))
    kept = (ws.evaluations / seen.id / "result.json").read_text(encoding="utf-8")
    assert "milligrams" not in kept and "heart attack" not in kept, "risky messages are counted, not kept"


def test_one_evaluation_at_a_time_which_stops_when_asked(ws: Workspace, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "asked.jsonl")
    wish = EvaluationWish("kind", data, rows=4, answers=4, longest=64)
    first = evaluate.start(ws, wish)
    with pytest.raises(UserError, match=r"^evaluation of kind: it is still going; wait for it or stop it$"):
        evaluate.start(ws, wish)
    evaluate.stop(ws, first)
    evaluate.stop(ws, first)
    assert wait(ws, first).status == "stopped"


def test_what_cannot_be_measured_is_refused_in_words(ws: Workspace) -> None:
    with pytest.raises(UserError, match=r"^rows: must be a whole number from 1 to 10000 \(got 0\)$"):
        evaluate.start(ws, EvaluationWish("kind", rows=0))
    with pytest.raises(
        UserError, match=r"^adapter kind: its dataset is not on record; name one with --data$"
    ):
        evaluate.start(ws, EvaluationWish("kind"))
    with pytest.raises(
        UserError, match=r"^dataset: there is no such file and no such dataset \(got 'nowhere.jsonl'"
    ):
        evaluate.start(ws, EvaluationWish("kind", "nowhere.jsonl"))


@pytest.mark.parametrize("kind", ["all", "lora_only"])
def test_an_adapter_with_biases_is_taken_in_again_and_measured_beside_its_real_base(
    tmp_path: Path, kind: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from medlora.jobs.evaluation.speakers import ADAPTER, BASE, load_speakers
    from medlora.services import adapters
    from medlora.services.adapter_import import import_adapter
    from tests.speaking_models import attach_lora, publish_adapter

    ws = Workspace.open(tmp_path / "home")
    base = make_tiny_model(tmp_path / "qwen", family="qwen2")
    trained = attach_lora(base, r=4, target_modules=["q_proj", "o_proj"], bias=kind)
    torch.manual_seed(0)
    for weight in trained.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    publish_adapter(trained, base, ws.adapter("kind"))
    name = import_adapter(ws, adapters.export_zip(ws, "kind"), base=str(base)).name
    ids = torch.tensor([[5, 9, 31, 7, 2, 40]])
    speakers = load_speakers(base, ws.adapter(name), four_bit=False)
    assert speakers.replaced, "a bias was trained"
    for _ in range(2):
        with torch.inference_mode(), speakers.speaking(BASE) as model:
            plain = AutoModelForCausalLM.from_pretrained(base)(input_ids=ids).logits
            assert torch.equal(model(input_ids=ids).logits, plain)
        with torch.inference_mode(), speakers.speaking(ADAPTER) as model:
            assert torch.equal(model(input_ids=ids).logits, trained.eval()(input_ids=ids).logits)
