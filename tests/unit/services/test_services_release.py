"""From draft to released: every figure of the gate, and a person's name that holds for these weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medlora.config.schema import ReleaseSettings
from medlora.errors import UserError
from medlora.feedback.records import Answer, Rating
from medlora.services import adapters, audit, evaluate, feedback, release
from medlora.services.feedback import FeedbackSummary
from medlora.services.release import check_gate
from medlora.ui.audit_view import show_page
from medlora.workspace import Workspace, write_json
from tests.adapter_files import change_provenance, change_tensors, write_adapter
from tests.tiny_models import make_tiny_model


def share(hits: int, total: int) -> dict[str, Any]:
    return {"hits": hits, "total": total, "value": hits / total, "wilson_95": [0.0, 1.0]}


def figures(**changes: Any) -> dict[str, Any]:
    """What an evaluation measured, all of it good."""
    found: dict[str, Any] = {
        "dataset": {"name": "clinic", "rows": 20, "of": 20, "source": "rows held back from training"},
        "base": {"loss": 2.5, "rouge_l": 0.1},
        "adapter": {"loss": 1.9, "rouge_l": 0.3, "choices": share(7, 10), "truncated": share(1, 10)},
        "drift": {"prompts": 24, "base": {"fired": share(2, 24)}, "adapter": {"fired": share(3, 24)}},
        "deferral": {"set": "shipped", "recall": share(99, 100), "false_deferral": share(1, 100)},
    }
    return found | changes


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace.open(tmp_path / "home")
    write_adapter(make_tiny_model(tmp_path / "tiny"), ws.adapter("clinic"))
    return ws


def measure(ws: Workspace, **changes: Any) -> None:
    digest = adapters.weights_hash(ws.adapter("clinic"))
    write_json(ws.adapter("clinic") / evaluate.RESULT, figures(**changes) | {"adapter_sha256": digest})


def rate(ws: Workspace, safety: str) -> None:
    answer = Answer(
        turns=({"role": "user", "content": "What is asthma?"},), text="Common.", base_model="acme/tiny",
        adapter="clinic", weights=adapters.weights_hash(ws.adapter("clinic"))[:12],
    )  # fmt: skip
    feedback.rate_answer(ws, answer, Rating(answer_id=answer.answer_id, rater="Ann", safety=safety))


def missed(gate: ReleaseSettings, **changes: Any) -> list[str]:
    checks = check_gate(gate, figures(**changes), FeedbackSummary("clinic"))
    return [f"{check.name}: {check.words}" for check in checks if not check.met]


def test_an_adapter_is_a_draft_until_it_is_measured_and_somebody_signs(ws: Workspace) -> None:
    assert release.read_release(ws, "clinic").words == "draft"
    measure(ws)
    assert release.read_release(ws, "clinic").words == "draft, ready to sign"
    signed = release.sign(ws, "clinic", "  Dr.\tAda\u202e Byron ", "For the\nteaching course")
    assert (signed.state, signed.words) == ("released", "signed off by Dr. Ada Byron")
    assert signed.signature is not None and signed.signature.note == "For the teaching course"
    assert signed.signature.weights_sha256 == adapters.weights_hash(ws.adapter("clinic"))
    assert "Better than its base: loss 1.900, base 2.500" in signed.signature.figures
    assert release.withdraw(ws, "clinic").words == "draft, ready to sign"


def test_a_signature_and_its_withdrawal_stand_in_the_audit(ws: Workspace) -> None:
    measure(ws)
    release.sign(ws, "clinic", "Dr. Ada Byron", "For the teaching course", account="ada")
    release.withdraw(ws, "clinic")
    release.withdraw(ws, "clinic")
    withdrawn, signed = audit.read_audit(ws, audit.AuditFilter(adapter="clinic")).entries
    assert signed["event"] == "sign_off"
    assert (signed["user"], signed["by"]) == ("ada", "Dr. Ada Byron")
    assert signed["weights_sha256"] == adapters.weights_hash(ws.adapter("clinic"))
    assert withdrawn["event"] == "sign_off_withdrawn" and "user" not in withdrawn
    assert audit.verify_audit(ws).ok
    assert "teaching" not in str(signed), "a note may say anything; it stays with the signature"
    shown = show_page(audit.read_audit(ws))
    assert "<td>adapter signed off</td>" in shown and "<td>ada</td>" in shown


def test_a_refused_signature_leaves_no_entry(ws: Workspace) -> None:
    with pytest.raises(UserError):
        release.sign(ws, "clinic", "Ada")
    assert audit.read_audit(ws).total == 0


def test_a_refusal_lists_every_figure_that_misses(ws: Workspace) -> None:
    measure(ws, base={"loss": 1.0}, drift=None, dataset={"rows": 4})
    rate(ws, "unsafe")
    with pytest.raises(UserError) as caught:
        release.sign(ws, "clinic", "Ada")
    assert str(caught.value).splitlines() == [
        "adapter clinic: it is a draft and cannot be signed for yet",
        "adapter clinic: Rows measured: 4 (at least 10)",
        "adapter clinic: Better than its base: loss 1.900, base 1.000",
        "adapter clinic: Safety drift: 0 of 24 risky messages were tried; evaluate it with all of them",
        "adapter clinic: Rated safe: 0 of 1 (at least 100 %)",
    ]


def test_a_signature_needs_a_name_and_a_whole_adapter(ws: Workspace) -> None:
    measure(ws)
    with pytest.raises(UserError, match=r"^sign-off: the name is missing; whoever signs is named$"):
        release.sign(ws, "clinic", " \u200b ")
    with pytest.raises(UserError, match=r"^note: at most 500 characters \(got 501\); shorten it$"):
        release.sign(ws, "clinic", "Ada", "x" * 501)
    (ws.adapter("clinic") / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"it cannot be signed for$"):
        release.sign(ws, "clinic", "Ada")


def test_other_weights_void_a_signature(ws: Workspace) -> None:
    measure(ws)
    release.sign(ws, "clinic", "Ada")
    change_tensors(ws.adapter("clinic"), lambda tensors: {name: 2 * t for name, t in tensors.items()})
    now = release.read_release(ws, "clinic")
    assert (now.state, now.void, now.signature) == ("draft", True, None)
    assert now.words == "draft, its weights changed since it was signed"
    measure(ws)
    assert release.read_release(ws, "clinic").state == "ready", "the old name does not speak of new weights"


def test_figures_that_got_worse_make_a_signed_adapter_a_draft_again(ws: Workspace) -> None:
    measure(ws)
    release.sign(ws, "clinic", "Ada")
    rate(ws, "unsafe")
    assert release.read_release(ws, "clinic").words == "draft, figures worse than signed for"
    assert release.read_release(ws, "clinic").as_dict()["signature"]["by"] == "Ada"


def test_the_gate_is_the_one_it_was_trained_under_but_not_one_from_elsewhere(ws: Workspace) -> None:
    strict = {"evaluation": {"release": {"min_rouge_l": 0.5}}}
    change_provenance(ws.adapter("clinic"), config=strict)
    measure(ws)
    assert [check.name for check in release.read_release(ws, "clinic").missed] == ["Overlap"]
    lax = {"evaluation": {"release": {"min_rows": 1, "better_than_base": False}}}
    change_provenance(ws.adapter("clinic"), config=lax, imported="2026-11-25T10:00:00+00:00")
    measure(ws, base={"loss": 1.0})
    assert [check.name for check in release.read_release(ws, "clinic").missed] == ["Better than its base"]


@pytest.mark.parametrize(
    ("gate", "changes", "words"),
    [
        ({"min_rouge_l": 0.4}, {}, "Overlap: 0.300 (at least 0.4)"),
        ({"min_accuracy": 0.8}, {}, "Right choices: 70 %, 7 of 10 (at least 80 %)"),
        ({"max_truncated": 0.05}, {}, "Answers cut: 10 %, 1 of 10 (at most 5 %)"),
        (
            {"max_safety_drift": 0.0}, {},
            "Safety drift: rules fire on 12 % of 24 risky messages, base 8 % (at most 0 % more)",
        ),
        ({"min_deferral_recall": 1.0}, {}, "Deferral recall: 99 %, 99 of 100 (at least 100 %)"),
        (
            {}, {"deferral": None}, "Deferral recall: not measured (at least 95 %); evaluate it again",
        ),
        ({"min_ratings": 5}, {}, "Ratings: 0 (at least 5)"),
    ],
)  # fmt: skip
def test_each_demand_is_told_with_its_figure(
    gate: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    assert missed(ReleaseSettings(**gate), **changes) == [words]


def test_what_has_no_bound_is_not_looked_at() -> None:
    gate = ReleaseSettings(max_safety_drift=None, min_deferral_recall=None, better_than_base=False)
    assert missed(gate, drift=None, deferral=None, base={"loss": 0.1}) == []


def test_a_share_at_its_bound_is_enough() -> None:
    gate = ReleaseSettings(min_accuracy=0.7, max_truncated=0.1, min_deferral_recall=0.99)
    assert missed(gate) == []
