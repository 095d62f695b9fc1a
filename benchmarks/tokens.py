"""How long a run waits for its rows: read, rendered and encoded, or found as an earlier run kept them.

    python -m benchmarks.tokens [--rows 5000] [--rounds 3] [--model FOLDER]

The rows are the sample dataset's over and over, each with a number in it so that none is a copy. Every round
is first without and then with what was kept, through the worker's own step, and the two must be equal.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from medlora.config.schema import Config
from medlora.dataset.kept_tokens import tokens_folder
from medlora.models.files import find_model
from medlora.training.kept_examples import MadeExamples, kept_or_prepared
from medlora.workspace import Workspace


def write_rows(path: Path, rows: int) -> None:
    """So many different rows like those of the sample dataset."""
    lines = Workspace.open().sample_dataset.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    with path.open("w", encoding="utf-8") as out:
        for number in range(rows):
            record = dict(records[number % len(records)])
            record["question"] = f"{record['question']} ({number})"
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a model folder; the prepared starter model without it")
    options = parser.parse_args()
    files = None if options.model else find_model(Workspace.open(), "starter")
    model = options.model or (files.path if files else None)
    if model is None:
        raise SystemExit("benchmark: the starter model is not prepared; start a chat once, or give --model")
    spent: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="medlora-tokens-") as folder:
        ws, data = Workspace.open(Path(folder) / "home"), Path(folder) / "rows.jsonl"
        write_rows(data, options.rows)
        for _ in range(options.rounds):
            shutil.rmtree(tokens_folder(ws), ignore_errors=True)
            made: list[MadeExamples] = []
            for recalled in (False, True):
                begin_s = time.process_time()
                made.append(kept_or_prepared(ws, {"dataset": {"path": str(data)}}, Config(), model))
                spent[recalled].append(time.process_time() - begin_s)
                assert made[-1].recalled is recalled
            assert made[0].examples == made[1].examples
        kept = sum(path.stat().st_size for path in tokens_folder(ws).iterdir())
        tokens = sum(len(row["input_ids"]) for row in made[0].examples.train + made[0].examples.evaluation)
    for recalled, title in ((False, "made"), (True, "found")):
        every = ", ".join(f"{seconds:.2f}" for seconds in spent[recalled])
        sys.stdout.write(f"{title}: {median(spent[recalled]):.2f} processor seconds ({every})\n")
    sys.stdout.write(f"{options.rows} rows, {tokens} tokens, {kept / 2**20:.1f} MiB kept\n")


if __name__ == "__main__":
    main()
