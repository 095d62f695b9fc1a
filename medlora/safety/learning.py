"""Learn the weights of `learned.py` from the shipped labelled messages.

    python -m medlora.safety.learning            write the weights
    python -m medlora.safety.learning --check    ten folds: what weights say of messages they have not seen

A logistic regression, message by message in a fixed order: the same messages give the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medlora.safety.catalogue import load_catalogue
from medlora.safety.learned import DANGER_WEIGHTS, SCALE, WEIGHTS, Weights, list_features, make_weights, weigh
from medlora.safety.tokens import Tokens

FOLDER = Path(__file__).resolve().parent / "labelled"
FILES = ("messages.jsonl", "batches.jsonl")
ROUNDS, RATE, DECAY = 40, 0.2, 1.0
LEAST_SEEN = 2
LEAST_WEIGHT = 0.02
FOLDS = 10
Example = tuple[tuple[str, ...], bool]
LESSONS = {
    WEIGHTS: ("crisis", ("crisis", "emergency", "answer")),
    DANGER_WEIGHTS: ("emergency", ("emergency", "answer")),
}
"""For each file of weights the level that they speak for, and the levels learned from."""


def labelled_sha256() -> str:
    """The digest of the messages that weights are learned from."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((FOLDER / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def read_examples(path: Path = WEIGHTS) -> list[Example]:
    """Each English message of a lesson as its plain words, and whether it is of the level learned."""
    wanted, levels = LESSONS[path]
    tokenizer = load_catalogue().tokenizer
    examples = []
    for name in FILES:
        for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["voice"] != "other language" and row["level"] in levels:
                words = tokenizer.read(row["text"], 0, Tokens()).words
                examples.append((tuple(words), row["level"] == wanted))
    return examples


def learn(examples: Sequence[Example]) -> Weights:
    """Weights that tell the crises of some examples from the rest."""
    rows = [
        [name for name, _, _ in list_features([w for w in words if w.isalpha()])] for words, _ in examples
    ]
    seen = Counter(name for row in rows for name in set(row))
    rows = [[name for name in row if seen[name] >= LEAST_SEEN] for row in rows]
    crises = sum(crisis for _, crisis in examples)
    lift = math.sqrt((len(examples) - crises) / max(crises, 1))
    weights, squares = dict.fromkeys(seen, 0.0), dict.fromkeys(seen, 1e-6)
    bias, bias_square = 0.0, 1e-6
    order, dice = list(range(len(rows))), random.Random(0)
    for _ in range(ROUNDS):
        dice.shuffle(order)
        for number in order:
            row, crisis = rows[number], examples[number][1]
            scale = 1 / math.sqrt(len(row) or 1)
            score = sum(weights[name] for name in row) * scale + bias
            slope = (1 / (1 + math.exp(-max(-30.0, min(30.0, score)))) - crisis) * (lift if crisis else 1.0)
            for name in row:
                step = slope * scale + DECAY / len(rows) * weights[name]
                squares[name] += step * step
                weights[name] -= RATE * step / math.sqrt(squares[name])
            bias_square += slope * slope
            bias -= RATE * slope / math.sqrt(bias_square)
    kept = {
        n: round(w, 3) for n, w in sorted(weights.items()) if seen[n] >= LEAST_SEEN and abs(w) > LEAST_WEIGHT
    }
    return make_weights(round(bias, 3), kept)


def write_weights(weights: Weights, path: Path = WEIGHTS) -> None:
    """The weights as data, the digest of the messages first."""
    lines = [f"# {labelled_sha256()}", f"(bias)\t{round(weights.bias * SCALE)}"]
    lines += [f"{name}\t{round(weight * SCALE)}" for name, weight in sorted(weights.features.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_folds(examples: Sequence[Example]) -> list[tuple[float, bool]]:
    """The score of each example from weights that were learned without it."""
    scores = []
    for fold in range(FOLDS):
        weights = learn([example for number, example in enumerate(examples) if number % FOLDS != fold])
        for words, crisis in examples[fold::FOLDS]:
            scores.append((weigh(words, weights).score, crisis))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="ten folds; writes nothing")
    check = parser.parse_args().check
    for path, (level, _) in LESSONS.items():
        examples = read_examples(path)
        if check:
            report_folds(level, check_folds(examples))
            continue
        weights = learn(examples)
        write_weights(weights, path)
        sys.stdout.write(f"{path.name}: {len(weights.features)} weights from {len(examples)} messages\n")


def report_folds(level: str, scores: Sequence[tuple[float, bool]]) -> None:
    """What share of each kind weighs more than some borders."""
    for border in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5):
        caught = [score >= border for score, wanted in scores if wanted]
        false = [score >= border for score, wanted in scores if not wanted]
        shares = sum(caught) / len(caught), sum(false) / len(false)
        sys.stdout.write(f"{level}: from {border}: {shares[0]:.1%} of them, {shares[1]:.1%} of the rest\n")


if __name__ == "__main__":
    main()
