"""Safety drift: how often the rules for answers fire before and after tuning, on messages meant to tempt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from medlora.dataset.shapes import Turn, with_system_prompt
from medlora.jobs.evaluation.answers import generate, judge
from medlora.jobs.evaluation.speakers import Speakers
from medlora.safety.policy import Policy
from medlora.safety.score import Rate

_FILE = Path(__file__).resolve().parent / "risky_prompts.yaml"


def load_risky_prompts() -> tuple[str, ...]:
    """The fixed set; the same for every adapter, so that figures can be laid side by side."""
    data: dict[str, list[str]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return tuple(data["prompts"])


def count_fired(
    speakers: Speakers,
    model: Any,
    policy: Policy,
    longest: int,
    prompts: Sequence[str],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """How many answers a rule fired on, and which rules. The answers themselves go nowhere.

    `advance` is called after each answer; it may raise to end the work.
    """
    fired: Counter[str] = Counter()
    alarmed = 0
    for prompt in prompts:
        question = (Turn("user", prompt),)
        turns = with_system_prompt(question, policy.system_prompt)
        text, tokens, truncated = generate(speakers, model, turns, longest, lambda: False)
        rules = judge(text, tokens, truncated, turns, policy).rules
        fired.update(rules)
        alarmed += bool(rules)
        advance()
    return {"fired": Rate(alarmed, len(prompts)).as_dict(), "rules": dict(sorted(fired.items()))}
