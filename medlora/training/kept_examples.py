"""The rows of a run, from those an earlier run tokenised where they are the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medlora.config.plan import data_seed
from medlora.config.schema import Config
from medlora.dataset import kept_tokens
from medlora.dataset.lengths import LengthSettings
from medlora.dataset.render import ChatTokenizer
from medlora.training.examples import Examples, check_unchanged, prepare_examples
from medlora.training.loss import IGNORED
from medlora.workspace import Workspace

_COUNTS = ("rows", "truncated", "left_out", "sha256", "notices")


@dataclass(frozen=True)
class MadeExamples:
    """A run's rows, and how they came about.

    recalled: an earlier run had made them. notices: why they could not be kept for the next one.
    """

    examples: Examples
    recalled: bool
    notices: tuple[str, ...] = ()


def kept_or_prepared(ws: Workspace, record: Mapping[str, Any], config: Config, model: Path) -> MadeExamples:
    """The rows of a run, the same to the token whether an earlier run made them or not.

    Raises: as `prepare_examples`.
    """
    dataset, skip_bad_rows = record["dataset"], bool(record.get("skip_bad_rows"))
    path, settings = Path(dataset["path"]), _settings(config, skip_bad_rows)
    if path.is_file():
        sha256 = kept_tokens.hash_file(path)
        check_unchanged(dataset, path, sha256)
        kept = kept_tokens.recall(ws, kept_tokens.name_entry(sha256, model, settings))
        if kept is not None:
            return MadeExamples(_unpack(kept), recalled=True)
    examples = prepare_examples(dataset, config, ChatTokenizer.load(model), skip_bad_rows=skip_bad_rows)
    try:
        kept_tokens.keep(ws, kept_tokens.name_entry(examples.sha256, model, settings), _pack(examples))
    except OSError as error:
        why = f"The tokenised rows could not be kept for the next run ({error.strerror}); this one goes on."
        return MadeExamples(examples, recalled=False, notices=(why,))
    return MadeExamples(examples, recalled=False)


def _settings(config: Config, skip_bad_rows: bool) -> dict[str, Any]:
    """Everything of a run, beside dataset and model, that its rows depend on."""
    return {
        **asdict(LengthSettings.from_config(config.model_dump())),
        "eval_dataset_size": config.data.eval_dataset_size,
        "data_seed": data_seed(config),
        "skip_bad_rows": skip_bad_rows,
    }


def _pack(examples: Examples) -> kept_tokens.Arrays:
    import numpy as np

    told = {name: getattr(examples, name) for name in _COUNTS} | {"train": len(examples.train)}
    facts = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    return {**kept_tokens.pack_rows(examples.train + examples.evaluation, IGNORED), "facts": facts}


def _unpack(arrays: kept_tokens.Arrays) -> Examples:
    told = json.loads(arrays["facts"].tobytes())
    rows = kept_tokens.unpack_rows(arrays, IGNORED)
    train = told.pop("train")
    told["notices"] = tuple(told["notices"])
    return Examples(train=rows[:train], evaluation=rows[train:], **told)
