"""How fast the safety layer is, and how much of it slips, voices and contexts take away.

    python -m benchmarks.safety [--json]

CPU time on one core: assessments by length, screening, the stream guard, and how time grows on hostile texts
(a text eight times as long, in times the work). The texts are those of the shipped labelled sets, joined to
the wanted length. Their recall guards against regression and is no evidence.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

from medlora.safety import Level, Policy, StreamGuard, assess
from medlora.safety.catalogue import load_catalogue
from medlora.safety.score import Score, score_messages
from medlora.services.safety import labelled_path, read_labelled

TOKEN_CHARS = 4
ROUNDS = 400
TYPOS = 2
HOSTILE = ("chest pain ", "no chest pain, ", "i want to die ", "a", "k i l l ", "1/2 ", "QUJD", "not not ")


def measure(work: Callable[[int], None], rounds: int) -> dict[str, float]:
    """Mean and percentiles of one call, in milliseconds."""
    spent = []
    for number in range(rounds):
        started = time.process_time()
        work(number)
        spent.append((time.process_time() - started) * 1000)
    spent.sort()
    return {
        "mean_ms": round(sum(spent) / rounds, 4),
        "p50_ms": round(spent[rounds // 2], 4),
        "p99_ms": round(spent[min(rounds - 1, int(rounds * 0.99))], 4),
    }


def run() -> dict[str, dict[str, float]]:
    """Every figure by name."""
    started = time.process_time()
    load_catalogue()
    figures = {"catalogue": {"compile_ms": round((time.process_time() - started) * 1000, 1)}}
    policy = Policy()
    texts = [message.text for message, _ in read_labelled(labelled_path())]
    ordinary = ". ".join(m.text for m, _ in read_labelled(labelled_path()) if m.expected is Level.ANSWER)
    dense = ". ".join(texts)
    for text in texts:
        assess([{"role": "user", "content": text}], policy)
    for chars, kind, joined in ((200, "", ordinary), (2000, "", ordinary), (2000, "_of_signs", dense)):
        pieces = [joined[place : place + chars] for place in range(0, len(joined) - chars, 17)]
        figures[f"assess_{chars}_chars{kind}"] = measure(
            lambda n, pieces=pieces: _judge(pieces[n % len(pieces)], policy), ROUNDS
        )
    figures["screen"] = _screen(texts, policy)
    figures["stream_guard"] = _stream(policy)
    growth = [_spend(seed, 16_000, policy) / _spend(seed, 2_000, policy) for seed in HOSTILE]
    figures["growth_8_times"] = {"worst_ratio": round(max(growth), 2)}
    return figures | _quality(policy)


def _spend(seed: str, chars: int, policy: Policy) -> float:
    """CPU seconds for a text made of one piece, the best of five."""
    text = (seed * chars)[:chars]
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        _judge(text, policy)
        best = min(best, time.process_time() - started)
    return best


def _quality(policy: Policy) -> dict[str, dict[str, float]]:
    """What slips cost, how voices compare, and whether minimal pairs are told apart, on the shipped sets."""
    path = labelled_path()
    plain = score_messages(read_labelled(path), policy)
    slipped = score_messages(read_labelled(path, slips=TYPOS), policy)
    batches = score_messages(read_labelled(path.with_name("batches.jsonl")), policy)
    pairs = list(plain.by_context.values())
    right = sum(rate.hits for rate in pairs) / sum(rate.total for rate in pairs)
    lost = plain.recall.value - slipped.recall.value
    return {
        "shipped_set": _figures(plain) | {"contexts_told_apart": round(right, 4)} | plain.voice_ratios,
        f"with_{TYPOS}_typos": _figures(slipped) | {"recall_lost": round(lost, 4)},
        "batches": _figures(batches) | batches.voice_ratios,
    }


def _figures(score: Score) -> dict[str, float]:
    return {"recall": round(score.recall.value, 4), "false_deferral": round(score.false_deferral.value, 4)}


def _judge(text: str, policy: Policy) -> None:
    assess([{"role": "user", "content": text}], policy)


def _screen(texts: list[str], policy: Policy) -> dict[str, float]:
    started = time.process_time()
    for text in texts:
        _judge(text, policy)
    return {"messages_per_second": round(len(texts) / (time.process_time() - started), 1)}


def _stream(policy: Policy) -> dict[str, float]:
    sentences = [
        f"Fact {n}: many people find that water, sleep and a short walk help, and that regular meals do too. "
        for n in range(200)
    ]
    text = "".join(sentences)
    guard = StreamGuard(policy)
    tokens = [text[place : place + TOKEN_CHARS] for place in range(0, len(text), TOKEN_CHARS)]
    figures = measure(lambda n: _feed(guard, tokens[n]), len(tokens))
    return {"mean_us_per_token": round(figures["mean_ms"] * 1000, 2), "p99_ms_per_token": figures["p99_ms"]}


def _feed(guard: StreamGuard, token: str) -> None:
    guard.feed(token)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    figures = run()
    if parser.parse_args().json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    for name, values in figures.items():
        shown = "  ".join(f"{key} {value}" for key, value in values.items())
        sys.stdout.write(f"{name:28} {shown}\n")


if __name__ == "__main__":
    main()
