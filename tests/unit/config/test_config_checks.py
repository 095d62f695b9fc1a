"""Settings that are right alone and wrong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medlora.config.plan import count_steps, data_seed, eval_interval, evaluates, keeps_best, plan_warmup
from medlora.config.resolve import Resolved
from medlora.config.schema import Config

Resolve = Callable[..., Resolved]
Refuse = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training:\n  fp16: true\n  bf16: true\n",
            "c.yaml:3:3: training.bf16: fp16 and bf16 cannot both be true; keep one (bf16 where "
            "the GPU has it)",
        ),
        (
            "training:\n  eval_steps: 50\ndata:\n  eval_dataset_size: 0\n",
            "c.yaml:2:3: training.eval_steps: needs records to evaluate on, but "
            "data.eval_dataset_size is 0 (got 50); "
            "hold out some, as in `eval_dataset_size: 0.1`, or delete this line",
        ),
        (
            "training:\n  early_stopping_patience: 2\ndata:\n  eval_dataset_size: 0\n",
            "c.yaml:2:3: training.early_stopping_patience: needs records to evaluate on, but "
            "data.eval_dataset_size "
            "is 0 (got 2); hold out some, as in `eval_dataset_size: 0.1`, or delete this line",
        ),
        (
            "training:\n  save_steps: 300\n  eval_steps: 200\n",
            "c.yaml:2:3: training.save_steps: must be a multiple of eval_steps, so that the "
            "best adapter can be kept "
            "(got save_steps 300, eval_steps 200); write `save_steps: 400`, or "
            "`load_best_model_at_end: false`",
        ),
        (
            "training:\n  early_stopping_patience: 2\n  load_best_model_at_end: false\n",
            "c.yaml:2:3: training.early_stopping_patience: early stopping keeps the best adapter, but "
            "load_best_model_at_end is false; delete one of them",
        ),
        (
            "data:\n  min_length: 20\n  max_length: 10\n",
            "c.yaml:2:3: data.min_length: must not be above data.max_length (got 20 and 10); no "
            "record could be both",
        ),
        (
            "lora:\n  target_modules: []\n",
            "c.yaml:2:3: lora.target_modules: is empty, so nothing would be trained; write `all-linear`",
        ),
        (
            "training:\n  num_machines: 2\n",
            "c.yaml:2:3: training.num_machines: several machines must meet somewhere; write "
            "`meeting_point: ADDRESS:PORT` of the first one",
        ),
    ],
)
def test_a_contradiction_in_one_file_is_refused(refuse: Refuse, text: str, message: str) -> None:
    assert refuse(text) == [message]


def test_a_stronger_place_wins_over_an_evaluation_asked_for_below(resolve: Resolve) -> None:
    resolved = resolve("base_template: default", sets=["data.eval_dataset_size=0"])
    assert resolved.config.training.eval_steps is None
    assert any(
        str(notice).endswith(
            "training.eval_steps: has no effect: data.eval_dataset_size is 0, so nothing is evaluated"
        )
        for notice in resolved.notices
    )


def test_an_evaluation_follows_a_stronger_checkpoint_interval(resolve: Resolve) -> None:
    training = resolve("base_template: default", sets=["training.save_steps=20"]).config.training
    assert (training.save_steps, training.eval_steps) == (20, 20)


def test_checkpoints_follow_a_stronger_evaluation_interval(resolve: Resolve) -> None:
    resolved = resolve("base_template: default", sets=["training.eval_steps=30"])
    assert (resolved.config.training.save_steps, resolved.config.training.eval_steps) == (510, 30)
    assert any(
        notice.message == "raised to 510, a multiple of eval_steps 30, so that the best adapter is kept"
        for notice in resolved.notices
    )


def test_intervals_are_free_where_the_best_adapter_is_not_wanted(resolve: Resolve) -> None:
    text = "training: {save_steps: 300, eval_steps: 200, load_best_model_at_end: false}"
    assert resolve(text).config.training.save_steps == 300


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("training: {learning_rate: 3}", "training.learning_rate", "very high (got 3); 1e-4 is usual"),
        (
            "training: {max_steps: 5, num_train_epochs: 2}",
            "training.num_train_epochs",
            "has no effect: training.max_steps ends the run after 5 steps",
        ),
        (
            "training: {lr_scheduler_type: constant, warmup_steps: 5}",
            "training.warmup_steps",
            "has no effect with the schedule `constant`; write `constant_with_warmup` to keep the warmup",
        ),
        ("lora: {r: 8}", "model.base_model_name", "not set; the small model `starter` is used"),
        ("lora: {r: 8}", "data.dataset_path", "not set; choose a dataset when you start the run"),
    ],
)
def test_what_is_odd_but_possible_is_a_notice(resolve: Resolve, text: str, key: str, message: str) -> None:
    assert (key, message) in [(notice.key, notice.message) for notice in resolve(text).notices]


def test_a_missing_dataset_is_a_notice_in_a_template_and_an_error_at_the_start(
    resolve: Resolve, refuse: Refuse, tmp_path: Path
) -> None:
    text = "model: {base_model_name: starter}\ndata:\n  dataset_path: ./mine.jsonl\n"
    said = (
        "c.yaml:3:3: data.dataset_path: no file there (got ./mine.jsonl); "
        "correct the path, or choose a dataset when you start the run"
    )
    assert [str(notice) for notice in resolve(text).notices] == [said]
    assert refuse(text, dataset_required=True) == [said]
    (tmp_path / "mine.jsonl").write_text("{}\n")
    assert resolve(text, dataset_required=True).notices == []


# Plans


def _config(**training: object) -> Config:
    return Config.model_validate({"training": training})


def test_warmup_longer_than_the_run_is_shortened_to_a_tenth_and_said() -> None:
    plan = plan_warmup(_config(warmup_steps=100), 75)
    assert (plan.steps, plan.notice) == (
        7,
        "training.warmup_steps: 100 steps of warmup are as long as the run or longer (75 "
        "steps); shortened to 7",
    )


@pytest.mark.parametrize(
    ("training", "total", "steps"),
    [
        ({"warmup_steps": 10}, 75, 10),
        ({"warmup_ratio": 0.1}, 75, 8),
        ({"warmup_ratio": 0.0}, 75, 0),
        ({"warmup_ratio": 0.99}, 1, 0),
        ({"warmup_steps": 1, "warmup_ratio": 0.0}, 1, 0),
    ],
)
def test_warmup_that_fits_is_kept(training: dict[str, object], total: int, steps: int) -> None:
    assert plan_warmup(_config(**training), total).steps == steps


@pytest.mark.parametrize(
    ("training", "rows", "steps"),
    [
        (
            {"num_train_epochs": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
            207,
            52,
        ),
        (
            {"num_train_epochs": 0.5, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
            10,
            5,
        ),
        ({"max_steps": 7}, 1000, 7),
        ({"num_processes": 2, "num_machines": 2, "num_train_epochs": 1}, 100, 4),
        ({}, 1, 3),
    ],
)
def test_the_steps_of_a_run_follow_from_its_rows(training: dict[str, object], rows: int, steps: int) -> None:
    assert count_steps(_config(**training), rows) == steps


def test_a_base_that_is_shared_out_is_neither_compressed_nor_trained(refuse: Refuse) -> None:
    both = "training:\n  num_processes: 2\n  sharding: full\n"
    compressed = "model:\n  quantization_config:\n    load_in_4bit: true\n"
    assert refuse(both + compressed) == [
        "c.yaml:3:3: training.sharding: weights in 4 bits cannot be shared out (got full and load_in_4bit: "
        "true); choose one of them"
    ]
    trained = "lora:\n  use_dora: true\n  bias: all\n  modules_to_save: [lm_head]\n"
    assert refuse(both + trained) == [
        "c.yaml:5:3: lora.use_dora: needs whole weights, and training.sharding shares them out (got true); "
        "write `use_dora: false`",
        "c.yaml:6:3: lora.bias: needs whole weights, and training.sharding shares them out (got 'all'); "
        "write `bias: none`",
        "c.yaml:7:3: lora.modules_to_save: needs whole weights, and training.sharding shares them out (got "
        "['lm_head']); write `modules_to_save: []`",
    ]


@pytest.mark.parametrize(
    ("text", "sets", "sharding", "four_bit", "notice"),
    [
        (
            "training: {sharding: full}\n",
            (),
            "none",
            False,
            "training.sharding: has no effect: one process has nobody to share with; write "
            "`num_processes: 2` or more",
        ),
        (
            "base_template: default\noverrides:\n  training: {sharding: full, num_processes: 2}\n",
            (),
            "full",
            False,
            "model.quantization_config.load_in_4bit: off: weights in 4 bits cannot be shared out, and "
            "training.sharding asks for that",
        ),
        (
            "training: {sharding: full, num_processes: 2}\n",
            ("model.quantization_config.load_in_4bit=true",),
            "none",
            True,
            "training.sharding: none: weights in 4 bits cannot be shared out, and load_in_4bit is set later",
        ),
    ],
)
def test_what_is_set_later_decides_between_sharing_out_and_compressing(
    resolve: Resolve, text: str, sets: tuple[str, ...], sharding: str, four_bit: bool, notice: str
) -> None:
    found = resolve(text, sets=sets)
    assert found.config.training.sharding == sharding
    assert found.config.model.quantization_config.load_in_4bit is four_bit
    assert [str(n).split(": ", 1)[1] for n in found.notices if str(n).endswith(notice)] != []


def test_unset_settings_follow_their_neighbours() -> None:
    config = _config(save_steps=40, seed=7)
    assert (eval_interval(config), data_seed(config), evaluates(config), keeps_best(config)) == (
        40,
        7,
        True,
        True,
    )
    assert keeps_best(_config(load_best_model_at_end=False)) is False
