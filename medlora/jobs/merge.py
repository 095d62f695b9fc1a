"""An adapter added into its base model's weights: `python -m medlora.jobs.merge FOLDER`.

Why always into 16-bit weights, never into 4-bit ones: rounding the sum to 4 bits would throw most of what was
learned away. The merged model then answers the same questions as the adapter on its base, and how far the two
agree is part of the result.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.jobs.frame import Report, quiet_transformers, run_job
from medlora.workspace import RunPaths, make_private

_QUESTIONS = (
    "What is asthma?",
    "How can I sleep better?",
    "What does a normal blood pressure look like?",
    "Why is fibre good for me?",
)
_ANSWER_TOKENS = 24
# In 16 bits a weight is right to three decimal digits; sums of thousands of them drift apart further.
_MOST_DRIFT = 0.05
_LEAST_AGREEMENT = 0.9
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip


def work(request: Mapping[str, Any], run: RunPaths, report: Report) -> dict[str, Any]:
    """Merge, save, load again, compare. Raises: UserError when the merged model does not answer alike."""
    report("loading", "loading the base model and the adapter", None)
    import torch
    from peft import PeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    from medlora.jobs.evaluation.speakers import check_pair

    quiet_transformers()
    base_folder, adapter_folder = Path(request["base"]), Path(request["adapter"])
    tokenizer, digest = check_pair(base_folder, adapter_folder)
    questions = [tokenizer.encode_prompt([{"role": "user", "content": text}]) for text in _QUESTIONS]
    options: Any = {"dtype": torch.bfloat16, "local_files_only": True, "use_safetensors": True}
    base = AutoModelForCausalLM.from_pretrained(base_folder, **options)
    # On the processor, as the base: PEFT would otherwise read the adapter onto a GPU, which may be full.
    adapted = PeftModelForCausalLM.from_pretrained(
        base, str(adapter_folder), autocast_adapter_dtype=False, torch_device="cpu"
    )
    adapted.eval().requires_grad_(False)
    report("comparing", "asking the adapter", 0.2)
    wanted = [answer(adapted, ids) for ids in questions]
    report("merging", "adding the adapter to the weights", 0.5)
    merged = adapted.merge_and_unload(safe_merge=True)
    target = make_private(run.root / "merged")
    report("saving", "writing the merged model", 0.6)
    merged.config._name_or_path = ""
    merged.save_pretrained(target, max_shard_size="4GB")
    copy_tokenizer(base_folder, adapter_folder, target)
    del base, adapted, merged
    report("comparing", "asking the merged model", 0.8)
    again = AutoModelForCausalLM.from_pretrained(target, **options).eval().requires_grad_(False)
    found = [score(again, ids, tokens) for ids, (tokens, _) in zip(questions, wanted, strict=True)]
    agreement, drift = compare(wanted, found)
    if agreement < _LEAST_AGREEMENT and drift > _MOST_DRIFT:
        raise UserError(
            f"merged model: it does not answer as the adapter does (the same next word in {agreement:.0%} of "
            f"places, {drift:.3f} nats apart); export the adapter itself instead"
        )
    return {
        "folder": str(target),
        "adapter_sha256": digest,
        "precision": "bfloat16",
        "same_next_token": round(agreement, 4),
        "mean_difference_nats": round(drift, 5),
        "compared_tokens": sum(len(tokens) for tokens, _ in wanted),
    }


def answer(model: Any, ids: Sequence[int]) -> tuple[list[int], list[float]]:
    """The greedy answer and the log-likelihood of each of its tokens."""
    import torch

    with torch.inference_mode():
        prompt = torch.tensor([list(ids)])
        output = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=_ANSWER_TOKENS,
            do_sample=False, temperature=None, top_p=None, top_k=None, pad_token_id=0,
        )[0, len(ids) :].tolist()  # fmt: skip
    return output, score(model, ids, output)[1]


def score(model: Any, ids: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], list[float]]:
    """For each place of an answer: the likeliest token there, and the log-likelihood of the given one."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*ids, *tokens]])).logits[0, len(ids) - 1 : -1].float()
        chances = logits.log_softmax(-1)
        given = chances.gather(1, torch.tensor(list(tokens))[:, None])[:, 0]
    return chances.argmax(-1).tolist(), given.tolist()


def compare(
    wanted: Sequence[tuple[list[int], list[float]]], found: Sequence[tuple[list[int], list[float]]]
) -> tuple[float, float]:
    """(share of places with the same next token, mean distance of the log-likelihoods in nats)."""
    same, apart = [], []
    for (tokens, before), (likeliest, after) in zip(wanted, found, strict=True):
        same += [a == b for a, b in zip(tokens, likeliest, strict=True)]
        apart += [abs(a - b) for a, b in zip(before, after, strict=True)]
    return sum(same) / max(1, len(same)), sum(apart) / max(1, len(apart))


def copy_tokenizer(base: Path, adapter: Path, target: Path) -> None:
    """The adapter's own tokenizer and template where it brings them, else the base's."""
    source = adapter if (adapter / "tokenizer.json").is_file() else base
    for name in _TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    sys.exit(run_job(sys.argv[1:], "merge", work, "Stopped; nothing was merged"))
