"""Wrong values and unknown names: each one is named at its place, with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medlora.config.resolve import Resolved

Refuse = Callable[..., list[str]]
Resolve = Callable[..., Resolved]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "lora:\n  layers_to_transform: [0, a]\n",
            "c.yaml:2:28: lora.layers_to_transform: item 2 must be a whole number (got 'a'); correct it",
        ),
        (
            "lora:\n  layers_to_transform: 3\n",
            "c.yaml:2:3: lora.layers_to_transform: must be a list of numbers (got 3); "
            "for example `layers_to_transform: [0, 1]`",
        ),
        (
            "training:\n  learning_rate: -1\n",
            "c.yaml:2:3: training.learning_rate: must be a number above 0 (got -1); "
            "for example `learning_rate: 1e-4`",
        ),
        (
            "training:\n  learning_rate: .nan\n",
            "c.yaml:2:3: training.learning_rate: must be a number above 0 (got nan); "
            "for example `learning_rate: 1e-4`",
        ),
        (
            "training:\n  per_device_train_batch_size: 0\n",
            "c.yaml:2:3: training.per_device_train_batch_size: must be a whole number of at "
            "least 1 and at most "
            "1024 (got 0); for example `per_device_train_batch_size: 2`",
        ),
        (
            "training:\n  max_steps: 0\n",
            "c.yaml:2:3: training.max_steps: must be -1 (no limit) or a whole number of at least 1 (got 0); "
            "for example `max_steps: -1`",
        ),
        (
            "training:\n  fp16: yes\n",
            "c.yaml:2:3: training.fp16: must be true or false (got 'yes'); "
            "write true: `yes` is text in today's YAML",
        ),
        (
            "training:\n  num_train_epochs: 1_0\n",
            "c.yaml:2:3: training.num_train_epochs: must be a number above 0 and at most 1000 "
            "(got '1_0'); write 10",
        ),
        (
            "data:\n  eval_dataset_size: 10%\n",
            "c.yaml:2:3: data.eval_dataset_size: must be a number of at least 0 and below 1 "
            "(got '10%'); write 0.1",
        ),
        (
            "data:\n  eval_dataset_size: 0,1\n",
            "c.yaml:2:3: data.eval_dataset_size: must be a number of at least 0 and below 1 "
            "(got '0,1'); write 0.1",
        ),
        (
            "lora:\n  r:\n",
            "c.yaml:2:3: lora.r: has no value; write one, or delete the line to keep the default",
        ),
        (
            "safety:\n  defer_keywords: [chest pain, 911]\n",
            "c.yaml:2:32: safety.defer_keywords: item 2 must be text (got 911); put it in quotes",
        ),
        (
            "model:\n  base_model_name: 7\n",
            "c.yaml:2:3: model.base_model_name: must be the name of a model, such as starter or "
            "microsoft/Phi-4-mini-instruct (got 7); put it in quotes",
        ),
        (
            "training:\n  lr_scheduler_type: Cosine\n",
            "c.yaml:2:3: training.lr_scheduler_type: must be one of cosine, linear, constant_with_warmup, "
            "constant, cosine_with_restarts, polynomial, inverse_sqrt (got 'Cosine'); write cosine",
        ),
        (
            "lora: 5\n",
            "c.yaml:1:7: lora: must be a section with settings below it (got 5)",
        ),
        (
            "safety:\n  country: uk\n",
            "c.yaml:2:3: safety.country: must be a country's two capital letters, or none (got 'uk'); "
            "for example `country: GB`",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_to_write(refuse: Refuse, text: str, message: str) -> None:
    assert refuse(text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training:\n  learnin_rate: 1\n",
            "c.yaml:2:3: training.learnin_rate: there is no setting of that name; "
            "did you mean training.learning_rate?",
        ),
        (
            "lora:\n  rank: 8\n",
            "c.yaml:2:3: lora.rank: there is no setting of that name; did you mean lora.r?",
        ),
        (
            "lora:\n  learning_rate: 1e-4\n",
            "c.yaml:2:3: lora.learning_rate: there is no setting of that name; did you mean "
            "training.learning_rate?",
        ),
        (
            "trainin:\n  x: 1\n",
            "c.yaml:1:1: trainin: there is no section of that name; did you mean `training:`?",
        ),
        (
            "seed: 3\n",
            "c.yaml:1:1: seed: belongs into a section; did you mean training.seed or inference.seed?",
        ),
        (
            "evaluation:\n  release:\n    min_row: 3\n",
            "c.yaml:3:5: evaluation.release.min_row: there is no setting of that name; "
            "did you mean evaluation.release.min_rows?",
        ),
        (
            "<<: 1\n",
            "c.yaml:1:1: <<: there is no setting of that name; "
            "the file can hold model, lora, training, data, safety, inference, evaluation",
        ),
    ],
)
def test_an_unknown_name_meets_the_one_that_was_meant(refuse: Refuse, text: str, message: str) -> None:
    assert refuse(text) == [message]


def test_everything_wrong_is_said_at_once_those_of_the_file_first(refuse: Refuse) -> None:
    said = refuse("lora:\n  r: 0\n  q: 1\n", env={"LORA_ALPHA": "abc"}, sets=["training.seed=-1", "rubbish"])
    assert [line.split(": ", 1)[0] for line in said] == [
        "c.yaml:2:3",
        "c.yaml:3:3",
        "--set",
        "env LORA_ALPHA",
        "--set",
    ]


def test_numbers_in_quotes_are_read_with_a_notice(resolve: Resolve) -> None:
    resolved = resolve('training:\n  learning_rate: "1e-4"\n')
    assert resolved.config.training.learning_rate == 1e-4
    assert str(resolved.notices[0]) == (
        "c.yaml:2:3: training.learning_rate: in quotes, read as 0.0001; take the quotes away"
    )


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training: {max_steps: 20.0}", "max_steps", 20),
        ("training: {num_train_epochs: 3}", "num_train_epochs", 3.0),
        ("training: {learning_rate: 1e-4}", "learning_rate", 1e-4),
        ("training: {eval_steps: null}", "eval_steps", None),
    ],
)
def test_values_that_can_mean_one_thing_only_are_taken(
    resolve: Resolve, text: str, key: str, value: Any
) -> None:
    read = getattr(resolve(text).config.training, key)
    assert read == value
    assert type(read) is type(value)


def test_a_setting_outside_its_section_is_taken_with_a_notice(resolve: Resolve) -> None:
    resolved = resolve("learning_rate: 1e-3\n")
    assert resolved.config.training.learning_rate == 1e-3
    assert str(resolved.notices[0]) == (
        "c.yaml:1:1: learning_rate: stands outside its section; read as training.learning_rate, "
        "put it below `training:`"
    )


def test_a_setting_in_two_places_of_a_file_is_refused(refuse: Refuse) -> None:
    assert refuse("training:\n  learning_rate: 1e-4\nlearning_rate: 1e-3\n") == [
        "c.yaml:3:1: training.learning_rate: set twice, here and in line 2; keep one of the two"
    ]


def test_an_empty_section_says_nothing(resolve: Resolve) -> None:
    assert resolve("lora:\ntraining:\n  # nothing yet\n").config.lora.r == 32


def test_no_quantization_is_written_as_null(resolve: Resolve) -> None:
    resolved = resolve("base_template: default\noverrides:\n  model:\n    quantization_config: null\n")
    assert resolved.config.model.quantization_config.load_in_4bit is False


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        (
            "training: {evaluation_strategy: epoch}",
            "training.eval_strategy: evaluation happens every training.eval_steps and at the "
            "end, not by epoch",
        ),
        (
            "training: {group_by_length: true}",
            "training.group_by_length: is now called training.train_sampling_strategy: group_by_length, "
            "and read as such",
        ),
        (
            "training: {warmup_steps: 0.1}",
            "training.warmup_steps: a share of the run, read as training.warmup_ratio (got 0.1)",
        ),
        ("training: {optim: adamw_hf}", "training.optim: read as 'adamw_torch' (got 'adamw_hf')"),
        (
            "model: {use_flash_attention_2: true}",
            "model.use_flash_attention_2: is now called model.attn_implementation: flash_attention_2, "
            "and read as such",
        ),
        (
            "model: {load_in_4bit: true}",
            "model.load_in_4bit: is called model.quantization_config.load_in_4bit here, and read as such",
        ),
        (
            "model: {quantization_config: {bnb_4bit_compute_dtype: torch.bfloat16}}",
            "model.quantization_config.bnb_4bit_compute_dtype: read as 'bfloat16' (got 'torch.bfloat16')",
        ),
        (
            "model: {trust_remote_code: true}",
            "model.trust_remote_code: stays off: code that comes with a model is never run; "
            "the supported families need none",
        ),
        (
            "model: {attn_implementation: flash_attention_2}",
            "model.attn_implementation: used where flash-attn and an NVIDIA GPU are at hand; "
            "elsewhere sdpa takes its place",
        ),
        ("data: {padding: max_length}", "data.padding: has no effect: batches are computed without padding"),
        (
            "training: {output_dir: /tmp/x}",
            "training.output_dir: checkpoints lie inside the run's own folder (got '/tmp/x')",
        ),
    ],
)
def test_what_the_libraries_or_we_do_otherwise_is_a_notice(resolve: Resolve, text: str, notice: str) -> None:
    said = [str(problem).split(": ", 1)[1] for problem in resolve(text).notices if problem.where]
    assert notice in said


def test_old_keys_take_effect_under_their_new_names(resolve: Resolve) -> None:
    config = resolve(
        "model: {use_flash_attention_2: true, load_in_4bit: true}\n"
        "training: {group_by_length: true, warmup_steps: 0.1, evaluation_strategy: no, save_total_limit: 1}\n"
        "lora: {target_modules: all}\n"
    ).config
    assert config.model.attn_implementation == "flash_attention_2"
    assert config.model.quantization_config.load_in_4bit is True
    assert config.training.train_sampling_strategy == "group_by_length"
    assert (config.training.warmup_steps, config.training.warmup_ratio) == (0, 0.1)
    assert config.data.eval_dataset_size == 0
    assert config.training.save_total_limit == 2
    assert config.lora.target_modules == "all-linear"


def test_remote_code_stays_off_whatever_is_asked(resolve: Resolve) -> None:
    resolved = resolve("model: {trust_remote_code: true}", env={"MEDLORA_MODEL__TRUST_REMOTE_CODE": "true"})
    assert resolved.config.model.trust_remote_code is False
