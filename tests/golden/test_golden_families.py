"""Every family of base models that the documents name goes through the whole worker."""

from __future__ import annotations

import math

import pytest

from medlora.dataset.render import MERGED_SYSTEM
from tests.golden.kit import Kit, end_of, events_of
from tests.tiny_models import FAMILIES, VOCABULARY

# What the worker says of a family's template or attention, each once.
NOTICES = {"gemma": MERGED_SYSTEM, "gemma2": "which sdpa cannot; eager is used"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_and_published(kit: Kit, family: str) -> None:
    run = kit.make_run(kit.config(family, training={"max_steps": 1, "logging_steps": 1}))
    assert kit.work(run) == 0, end_of(run)
    assert (end_of(run)["status"], end_of(run)["steps"]) == ("completed", 1)
    loss = events_of(run, "step")[0]["loss"]
    # A random model knows nothing: all words are about as likely.
    assert loss == pytest.approx(math.log(VOCABULARY), rel=0.1)
    fused = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    plain = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    modules = events_of(run, "plan")[0]["modules"]
    assert sorted(modules) == sorted(fused if family == "phi3" else plain)
    template = (kit.ws.adapter("tiny") / "chat_template.jinja").read_text(encoding="utf-8")
    assert template == FAMILIES[family].template
    said = " ".join(event["message"] for event in events_of(run, "notice"))
    assert NOTICES.get(family, "") in said
