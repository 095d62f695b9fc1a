"""The Evaluate tab's handlers on what lies on disk."""

import json
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.services import adapters, evaluate
from medlora.ui import evaluate_tab, evaluation_view
from medlora.workspace import Workspace, write_json

RATE = {"hits": 1, "total": 4, "value": 0.25, "wilson_95": [0.05, 0.7]}
SPEAKER = {
    "loss": 2.5, "perplexity": 12.18, "answer_tokens": 40, "rouge_l": 0.31, "mean_tokens": 20.0,
    "refused": RATE, "refers": RATE, "deferred": RATE, "withheld": RATE, "annotated": RATE,
    "truncated": RATE, "choices": None,
}  # fmt: skip


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace.open(tmp_path / "home")
    folder = ws.adapter("kind")
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    write_json(folder / "adapter_config.json", {"r": 8, "base_model_name_or_path": "starter"})
    return ws


def write_result(ws: Workspace, digest: str) -> None:
    answer = {
        "line": 3, "question": "<b>What?</b>", "reference": "ref", "base": "b", "adapter": "<img src=x>",
        "rouge_l": 0.5,
    }  # fmt: skip
    result = {
        "id": "x", "created": "2026-11-01", "adapter_sha256": digest,
        "dataset": {"name": "clinic", "rows": 4, "of": 9, "source": "rows held back from training"},
        "base": SPEAKER, "adapter": SPEAKER | {"loss": 1.25},
        "answers": {"best": [answer], "worst": []},
        "drift": {"prompts": 4, "base": {"fired": RATE, "rules": {"dosage_directive": 1}},
                  "adapter": {"fired": RATE, "rules": {}}},
    }  # fmt: skip
    write_json(ws.adapter("kind") / evaluate.RESULT, result)


def test_without_figures_the_tab_says_what_to_do(ws: Workspace) -> None:
    _, status, figures, *_ = evaluate_tab.draw(ws, "kind", "") or []
    assert status == "" and "press Measure" in figures
    assert "Train one first" in (evaluate_tab.draw(ws, None, "") or [])[2]


def test_figures_stand_side_by_side_and_what_a_model_said_is_inert(ws: Workspace) -> None:
    write_result(ws, adapters.weights_hash(ws.adapter("kind")))
    drawn = evaluate_tab.draw(ws, "kind", "")
    assert drawn is not None
    _, _, figures, drift, answers, mark = drawn
    assert "1.250" in figures and "2.500" in figures and "1 of 4 (5 to 70 %)" in figures
    assert "dosage directive" in drift and "4 messages meant to tempt" in drift
    assert "<img" not in answers and "&lt;img src=x&gt;" in answers and "<b>" not in answers
    assert evaluate_tab.draw(ws, "kind", mark) is None, "nothing is drawn again before something changes"


def test_figures_of_other_weights_are_not_shown(ws: Workspace) -> None:
    write_result(ws, "0" * 64)
    assert "press Measure" in (evaluate_tab.draw(ws, "kind", "") or [])[2]


def test_an_evaluation_that_failed_says_why(ws: Workspace) -> None:
    folder = ws.evaluations / "20261101-000000-kind-0000"
    folder.mkdir(parents=True)
    write_json(folder / "request.json", {"adapter_name": "kind", "dataset": {"name": "clinic"}})
    events = [
        {"kind": "started", "time": 1.0, "pid": 1, "pid_start": 1.0},
        {"kind": "ended", "time": 2.0, "status": "failed", "reason": "no row is left", "hint": None},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    status = (evaluate_tab.draw(ws, "kind", "") or ["", ""])[1]
    assert "It could not be measured" in status and "no row is left" in status


def test_what_is_missing_is_asked_for(ws: Workspace) -> None:
    with pytest.raises(UserError, match=r"^adapter: none is chosen; train one first$"):
        evaluate_tab.start(ws, None, None, 5, 5, 64)
    with pytest.raises(UserError, match=r"^rows: must be a whole number \(got nothing\)$"):
        evaluate_tab.start(ws, "kind", None, None, 5, 64)


def test_a_share_without_a_count_is_a_dash() -> None:
    assert evaluation_view.cell(RATE | {"hits": 0, "total": 0}) == "–"
    assert evaluation_view.cell(None) == "–"
