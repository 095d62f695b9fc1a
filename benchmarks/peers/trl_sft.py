"""TRL's SFTTrainer with its defaults: `python trl_sft.py JOB.json`.

Its environment: `python -m venv TRL && TRL/bin/pip install torch trl==1.16.0 peft`.
"""

from __future__ import annotations

import sys

from datasets import Dataset
from job import Job, answer
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer
from watch import Watch


def main() -> None:
    job, watch = Job.read(sys.argv), Watch()
    config = SFTConfig(
        output_dir=job.folder, max_steps=job.steps, per_device_train_batch_size=job.batch,
        gradient_accumulation_steps=job.accumulation, learning_rate=job.learning_rate,
        lr_scheduler_type="constant", weight_decay=job.weight_decay, max_length=2048,
        use_cpu=job.device == "cpu",
        train_sampling_strategy="sequential", seed=job.seed, logging_steps=1, save_strategy="no",
        report_to="none", dataloader_pin_memory=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=job.model,
        args=config,
        train_dataset=Dataset.from_list(job.rows),
        peft_config=LoraConfig(
            r=job.rank, lora_alpha=job.alpha, lora_dropout=job.dropout, target_modules=list(job.modules),
            task_type="CAUSAL_LM",
        ),
        callbacks=[watch],
    )  # fmt: skip
    trainer.train()
    answer(
        watch.report(
            "trl", "accelerate", bf16=config.bf16, gradient_checkpointing=config.gradient_checkpointing
        )
    )


if __name__ == "__main__":
    main()
