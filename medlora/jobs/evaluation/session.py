"""One evaluation from its request to its figures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.config.plan import data_seed
from medlora.config.schema import Config
from medlora.dataset.lengths import LengthSettings
from medlora.dataset.records import load_records
from medlora.dataset.shapes import Record, with_system_prompt
from medlora.dataset.split import split
from medlora.errors import DataError
from medlora.jobs.evaluation.answers import generate, judge
from medlora.jobs.evaluation.drift import count_fired, load_risky_prompts
from medlora.jobs.evaluation.figures import Spoken, compare, list_answers, summarise
from medlora.jobs.evaluation.pace import ANSWER, CHOICE, LOSS, RISKY, Pace, Report
from medlora.jobs.evaluation.scoring import answer_loss, choose, find_choice, has_choices
from medlora.jobs.evaluation.speakers import ADAPTER, BASE, SPEAKERS, Speakers, load_speakers
from medlora.safety.labelled_rows import read_labelled
from medlora.safety.policy import Policy
from medlora.safety.score import score_messages

# What a rule fires on stands in the first sentences of an answer.
_RISKY_TOKENS = 64


@dataclass(frozen=True)
class _Task:
    """What both speakers are measured with."""

    speakers: Speakers
    config: Config
    policy: Policy
    records: Sequence[Record]
    answers: int
    longest: int
    choices: bool


def evaluate(request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The figures of base and adapter over the same rows.

    Raises: UserError and DataError in words; whatever `report` raises.
    """
    began = time.monotonic()
    config = Config.model_validate(request["config"])
    report("loading", "loading the base model and the adapter", None)
    quantized = config.model.quantization_config.load_in_4bit
    speakers = load_speakers(Path(request["base"]), Path(request["adapter"]), four_bit=quantized)
    report("data", "reading the dataset", None)
    records, facts = choose_rows(request, config, speakers)
    policy = Policy.from_settings(config.safety.model_dump())
    task = _Task(
        speakers, config, policy, records, request["answers"], request["longest"], has_choices(records)
    )
    prompts = load_risky_prompts()[: request["risky"]]
    each = {LOSS: len(records), ANSWER: min(task.answers, len(records)), RISKY: len(prompts)}
    each[CHOICE] = len(records) if task.choices else 0
    pace = Pace(report, {kind: count * len(SPEAKERS) for kind, count in each.items()})
    spoken = {name: _measure(task, name, pace) for name in SPEAKERS}
    drift = _measure_drift(task, prompts, pace) if prompts else None
    report("evaluating", "labelled messages", 1.0)
    return {
        "adapter_sha256": speakers.digest,
        "dataset": facts,
        "settings": {key: request[key] for key in ("rows", "answers", "longest", "risky", "seed")},
        "device": str(speakers.device),
        "base": summarise(spoken[BASE]),
        "adapter": summarise(spoken[ADAPTER]),
        "difference": compare(spoken[BASE], spoken[ADAPTER]),
        "answers": list_answers(spoken[BASE], spoken[ADAPTER]),
        "drift": drift,
        "deferral": score_deferral(request.get("labelled"), policy),
        "seconds": round(time.monotonic() - began, 1),
        "seconds_each": dict(pace.seconds_each()),
    }


def _measure_drift(task: _Task, prompts: Sequence[str], pace: Pace) -> dict[str, Any]:
    """How often the rules for answers fire on each speaker's answers to the risky messages."""
    drift: dict[str, Any] = {"prompts": len(prompts)}
    longest = min(task.longest, _RISKY_TOKENS)
    for name in SPEAKERS:

        def advance(who: str = name) -> None:
            pace.advance(RISKY, who)

        with task.speakers.speaking(name) as model:
            drift[name] = count_fired(task.speakers, model, task.policy, longest, prompts, advance)
    return drift


def score_deferral(labelled: Mapping[str, Any] | None, policy: Policy) -> dict[str, Any] | None:
    """What the adapter's safety settings defer of labelled messages; they are judged, no model is asked."""
    if not labelled:
        return None
    score = score_messages(read_labelled(Path(labelled["path"])), policy)
    return {
        "set": labelled["set"],
        "recall": score.recall.as_dict(),
        "false_deferral": score.false_deferral.as_dict(),
    }


def choose_rows(
    request: Mapping[str, Any], config: Config, speakers: Speakers
) -> tuple[list[Record], dict[str, Any]]:
    """The rows to measure on, and what they are.

    Why a hash decides which: the same rows come up for the same seed, on any machine.
    Raises: DataError when nothing is left.
    """
    path = Path(request["dataset"]["path"])
    lengths = LengthSettings.from_config(config.model_dump())
    loaded = load_records(path, lengths, speakers.tokenizer, skip_bad_rows=True)
    held_out = request["dataset"]["sha256"] == loaded.sha256
    records = loaded.records
    if held_out:
        records = split(loaded.records, config.data.eval_dataset_size, data_seed(config))[1]
        if not records:
            raise DataError(
                "dataset: the adapter was trained on all of it (data.eval_dataset_size is 0), so figures on "
                "it would flatter; name another dataset with --data"
            )
    ranked = sorted(records, key=lambda record: _rank(record, request["seed"]))[: request["rows"]]
    chosen = sorted(ranked, key=lambda record: record.line)
    source = "rows held back from training" if held_out else "another dataset"
    return chosen, {
        "name": request["dataset"]["name"],
        "sha256": loaded.sha256,
        "rows": len(chosen),
        "of": len(records),
        "source": source,
    }


def _rank(record: Record, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{record.line}".encode()).digest()


def _measure(task: _Task, name: str, pace: Pace) -> list[Spoken]:
    """One speaker over every row."""
    spoken = []
    system = task.config.safety.system_prompt
    with task.speakers.speaking(name) as model:
        for number, record in enumerate(task.records):
            *asked, reference = with_system_prompt(record.messages, system)
            encoded = task.speakers.tokenizer.encode_record(
                [*asked, reference], max_seq_length=task.config.data.max_seq_length
            )
            loss = answer_loss(model, encoded.ids, encoded.trained)
            pace.advance(LOSS, name)
            answer = right = None
            choice = find_choice(record) if task.choices else None
            if task.choices:
                if choice is not None:
                    right = choose(model, task.speakers.tokenizer, choice, system) == choice.right
                pace.advance(CHOICE, name)
            if number < task.answers:
                text, tokens, cut = generate(task.speakers, model, asked, task.longest, lambda: False)
                answer = judge(text, tokens, cut, asked, task.policy)
                pace.advance(ANSWER, name)
            question = next((turn.content for turn in reversed(asked) if turn.role == "user"), "")
            spoken.append(Spoken(record.line, question, reference.content, loss, answer, right))
    return spoken
