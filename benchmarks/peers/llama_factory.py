"""LLaMA-Factory with its defaults: `python llama_factory.py JOB.json`.

Its environment: `python -m venv LF && LF/bin/pip install torch llamafactory==0.9.5`. The rows come to it
already tokenised (its own `tokenized_path`), so that its template cannot move the label positions.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path

from datasets import Dataset, DatasetDict
from job import Job, answer
from watch import Watch


def forgo_sound() -> None:
    """An empty torchaudio where this build of torch has none: it is imported always, and used for sound."""
    if find_spec("torchaudio") is None:
        sys.modules["torchaudio"] = module_from_spec(ModuleSpec("torchaudio", None))


def main() -> None:
    forgo_sound()
    from llamafactory.train.tuner import run_exp

    job, watch = Job.read(sys.argv), Watch()
    tokenized = Path(job.folder) / "tokenized"
    rows = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in job.rows]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(tokenized))
    settings = {
        "model_name_or_path": job.model, "stage": "sft", "do_train": True, "finetuning_type": "lora",
        "lora_rank": job.rank, "lora_alpha": job.alpha, "lora_dropout": job.dropout,
        "lora_target": ",".join(job.modules), "template": "smollm2", "dataset": "rows",
        "tokenized_path": str(tokenized), "cutoff_len": 2048, "output_dir": f"{job.folder}/out",
        "max_steps": job.steps, "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": job.accumulation, "learning_rate": job.learning_rate,
        "lr_scheduler_type": "constant", "weight_decay": job.weight_decay, "seed": job.seed,
        "disable_shuffling": True, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "use_cpu": job.device == "cpu", "disable_tqdm": True,
    }  # fmt: skip
    run_exp(settings, callbacks=[watch])
    answer(watch.report("llamafactory", "accelerate", gradient_checkpointing=True))


if __name__ == "__main__":
    main()
