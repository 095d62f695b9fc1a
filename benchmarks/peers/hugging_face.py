"""transformers' Trainer with PEFT, as most scripts have it: `python hugging_face.py naive|manual JOB.json`.

naive: float32 weights, every batch padded to its longest row; on a GPU computed in bf16.
manual: the same with what the configuration manual asks for: gradient checkpointing, and on a GPU fp16, which
accelerate refuses on a CPU. Its flash attention needs a package that few have, its `padding: false` means
what naive does anyway.
"""

from __future__ import annotations

import sys

import torch
from datasets import Dataset
from job import Job, answer
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)
from watch import Watch


def main() -> None:
    manual, job = sys.argv[1] == "manual", Job.read(sys.argv)
    torch.manual_seed(job.seed)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    model.config.use_cache = False
    lora = LoraConfig(
        r=job.rank, lora_alpha=job.alpha, lora_dropout=job.dropout, target_modules=list(job.modules),
        bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip
    if manual:
        model.enable_input_require_grads()
    precision = {"fp16": True} if manual else {"bf16": True}
    if job.device == "cpu":
        precision = {}
    watch = Watch()
    trainer = Trainer(
        model=get_peft_model(model, lora),
        args=TrainingArguments(
            output_dir=job.folder, max_steps=job.steps, per_device_train_batch_size=job.batch,
            gradient_accumulation_steps=job.accumulation, learning_rate=job.learning_rate,
            lr_scheduler_type="constant", weight_decay=job.weight_decay, max_grad_norm=1.0,
            optim="adamw_torch", activation_checkpointing=manual, use_cpu=job.device == "cpu",
            **precision, seed=job.seed,
            train_sampling_strategy="sequential", logging_steps=1, save_strategy="no", report_to="none",
            dataloader_pin_memory=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(job.rows),
        data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(job.model)),
        callbacks=[watch],
    )  # fmt: skip
    trainer.train()
    answer(watch.report("accelerate", gradient_checkpointing=manual))


if __name__ == "__main__":
    main()
