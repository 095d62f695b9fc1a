"""Settings that are right alone and wrong together.

Where one source asks for both, that is an error. Where a later source changed one of the two, the
earlier one follows with a notice: a template must not forbid what `--set` asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from medlora.config.layers import Entry, Layer, show
from medlora.config.schema import find_setting
from medlora.config.server import is_loopback
from medlora.errors import Severity

_SAVE, _EVAL = "training.save_steps", "training.eval_steps"
_BEST, _PATIENCE = "training.load_best_model_at_end", "training.early_stopping_patience"
_HELD_OUT = "data.eval_dataset_size"
_HIGH_RATE = 0.01
_SHARDING, _PROCESSES, _MACHINES = "training.sharding", "training.num_processes", "training.num_machines"
_FOUR_BIT = "model.quantization_config.load_in_4bit"
# What trains or reads the base model's own weights, and its value when it does not.
_OF_WHOLE_WEIGHTS = {"lora.use_dora": "false", "lora.bias": "none", "lora.modules_to_save": "[]"}
_SERVER, _SERVED, _REMOTE = "inference.base_url", "inference.served_models", "inference.allow_remote"


class Settings:
    """The merged values with defaults beneath; defaults have rank 0."""

    def __init__(self, merged: Layer) -> None:
        self.merged = merged

    def entry(self, key: str) -> Entry:
        doc = find_setting(key)
        return self.merged.entries.get(key) or Entry(doc.default if doc else None, "default")

    def value(self, key: str) -> Any:
        return self.entry(key).value

    def rank(self, key: str) -> int:
        return self.entry(key).rank

    def change(self, key: str, value: Any, message: str) -> None:
        """Set a value to what will be done, and say so where it was asked for."""
        entry = self.entry(key)
        self.merged.entries[key] = replace(entry, value=value)
        if message:
            self.say(key, message, "notice")

    def say(self, key: str, message: str, severity: Severity = "error") -> None:
        entry = self.entry(key)
        place = entry if entry.where != "default" else replace(entry, where="")
        self.merged.say(place, key, message, severity)


def check_together(merged: Layer, wrong: Collection[str]) -> None:
    """Every rule whose settings are each right; problems and notices are added to the layer."""
    settings = Settings(merged)
    for keys, rule in _RULES:
        if not any(key in wrong for key in keys):
            rule(settings)


def _check_precision(settings: Settings) -> None:
    if settings.value("training.fp16") and settings.value("training.bf16"):
        settings.say(
            "training.bf16", "fp16 and bf16 cannot both be true; keep one (bf16 where the GPU has it)"
        )


def _check_evaluation(settings: Settings) -> None:
    """Whatever needs an evaluation, where nothing is held out to evaluate on."""
    if settings.value(_HELD_OUT) > 0:
        return
    for key, off in ((_EVAL, None), (_PATIENCE, None), (_BEST, None)):
        value = settings.value(key)
        if value is None or value is False:
            continue
        if settings.rank(_HELD_OUT) > settings.rank(key):
            settings.change(key, off, "has no effect: data.eval_dataset_size is 0, so nothing is evaluated")
        else:
            settings.say(
                key,
                f"needs records to evaluate on, but data.eval_dataset_size is 0 (got {show(value)}); "
                "hold out some, as in `eval_dataset_size: 0.1`, or delete this line",
            )


def _check_stopping(settings: Settings) -> None:
    if settings.value(_PATIENCE) and settings.value(_BEST) is False:
        message = (
            "early stopping keeps the best adapter, but load_best_model_at_end is false; delete one of them"
        )
        settings.say(_PATIENCE, message)


def _check_intervals(settings: Settings) -> None:
    """To keep the best adapter, every checkpoint must have been evaluated.

    Source: transformers' TrainingArguments refuse save_steps that are no multiple of eval_steps.
    """
    save, evaluate = settings.value(_SAVE), settings.value(_EVAL)
    if (
        not evaluate
        or settings.value(_HELD_OUT) == 0
        or settings.value(_BEST) is False
        or save % evaluate == 0
    ):
        return
    multiple = -(-save // evaluate) * evaluate
    if settings.rank(_SAVE) > settings.rank(_EVAL):
        settings.change(_EVAL, save, f"follows save_steps, which is set later: {save} (got {evaluate})")
    elif settings.rank(_EVAL) > settings.rank(_SAVE):
        message = (
            f"raised to {multiple}, a multiple of eval_steps {evaluate}, so that the best adapter is kept"
        )
        settings.change(_SAVE, multiple, message)
    else:
        settings.say(
            _SAVE,
            f"must be a multiple of eval_steps, so that the best adapter can be kept (got save_steps {save}, "
            f"eval_steps {evaluate}); write `save_steps: {multiple}`, or `load_best_model_at_end: false`",
        )


def _check_lengths(settings: Settings) -> None:
    least, most = settings.value("data.min_length"), settings.value("data.max_length")
    if most is not None and least > most:
        settings.say(
            "data.min_length",
            f"must not be above data.max_length (got {least} and {most}); no record could be both",
        )


def _check_rate(settings: Settings) -> None:
    rate = settings.value("training.learning_rate")
    if rate > _HIGH_RATE:
        settings.say("training.learning_rate", f"very high (got {rate:g}); 1e-4 is usual", "notice")


def _check_duration(settings: Settings) -> None:
    limit, key = settings.value("training.max_steps"), "training.num_train_epochs"
    if limit > 0 and settings.rank(key) >= settings.rank("training.max_steps"):
        settings.say(key, f"has no effect: training.max_steps ends the run after {limit} steps", "notice")


def _check_schedule(settings: Settings) -> None:
    constant = settings.value("training.lr_scheduler_type") == "constant"
    steps = settings.value("training.warmup_steps")
    if constant and steps:
        message = (
            "has no effect with the schedule `constant`; write `constant_with_warmup` to keep the warmup"
        )
        settings.say("training.warmup_steps", message, "notice")


def _check_trust(settings: Settings) -> None:
    if settings.value("model.trust_remote_code"):
        message = "stays off: code that comes with a model is never run; the supported families need none"
        settings.change("model.trust_remote_code", False, message)


def _mention_fallbacks(settings: Settings) -> None:
    if settings.value("model.attn_implementation") == "flash_attention_2":
        message = "used where flash-attn and an NVIDIA GPU are at hand; elsewhere sdpa takes its place"
        settings.say("model.attn_implementation", message, "notice")
    if settings.value("model.device_map") != "auto":
        settings.say("model.device_map", "the machine decides, as with `auto`", "notice")
    if settings.value("data.padding"):
        settings.say("data.padding", "has no effect: batches are computed without padding", "notice")
    if settings.value("training.output_dir") not in ("./checkpoints", "checkpoints"):
        folder = settings.value("training.output_dir")
        message = f"checkpoints lie inside the run's own folder (got {show(folder)})"
        settings.say("training.output_dir", message, "notice")


def _mention_model(settings: Settings) -> None:
    if settings.entry("model.base_model_name").where == "default":
        settings.say("model.base_model_name", "not set; the small model `starter` is used", "notice")


def _check_machines(settings: Settings) -> None:
    if settings.value("training.num_machines") > 1 and not settings.value("training.meeting_point"):
        message = "several machines must meet somewhere; write `meeting_point: ADDRESS:PORT` of the first one"
        settings.say("training.num_machines", message)


def _check_sharding(settings: Settings) -> None:
    """A model in parts has no whole weights to compress, to train or to measure."""
    if settings.value(_SHARDING) == "none":
        return
    if settings.value(_PROCESSES) * settings.value(_MACHINES) == 1:
        message = "has no effect: one process has nobody to share with; write `num_processes: 2` or more"
        settings.change(_SHARDING, "none", message)
        return
    later = settings.rank(_SHARDING) - settings.rank(_FOUR_BIT)
    if settings.value(_FOUR_BIT) and later > 0:
        message = "off: weights in 4 bits cannot be shared out, and training.sharding asks for that"
        settings.change(_FOUR_BIT, False, message)
    elif settings.value(_FOUR_BIT) and later < 0:
        message = "none: weights in 4 bits cannot be shared out, and load_in_4bit is set later"
        settings.change(_SHARDING, "none", message)
        return
    elif settings.value(_FOUR_BIT):
        message = (
            "weights in 4 bits cannot be shared out (got full and load_in_4bit: true); choose one of them"
        )
        settings.say(_SHARDING, message)
    for key, without in _OF_WHOLE_WEIGHTS.items():
        value = settings.value(key)
        if value not in (False, "none", []):
            message = f"needs whole weights, and training.sharding shares them out (got {show(value)})"
            settings.say(key, f"{message}; write `{key.partition('.')[2]}: {without}`")


def _check_modules(settings: Settings) -> None:
    modules = settings.value("lora.target_modules")
    if isinstance(modules, list) and not [name for name in modules if name.strip()]:
        settings.say("lora.target_modules", "is empty, so nothing would be trained; write `all-linear`")


def _check_server(settings: Settings) -> None:
    """Conversations leave this machine only where somebody wrote that they may."""
    url = settings.value(_SERVER)
    if url is None:
        return
    if not [name for name in settings.value(_SERVED) if name.strip()]:
        message = "is empty, so nobody there can be asked; name a model that the server offers"
        settings.say(_SERVED, message, "notice")
    if is_loopback(url):
        return
    if not settings.value(_REMOTE):
        settings.say(
            _SERVER,
            f"it is another machine, so every conversation with its models would leave this one (got {url}); "
            "write `allow_remote: true` below `inference` if they may",
        )
    elif url.startswith("http:"):
        settings.say(_SERVER, f"the way there is not encrypted (got {url}); use https", "notice")


_RULES: tuple[tuple[tuple[str, ...], Callable[[Settings], None]], ...] = (
    (("training.fp16", "training.bf16"), _check_precision),
    ((_HELD_OUT, _EVAL, _PATIENCE, _BEST), _check_evaluation),
    ((_PATIENCE, _BEST), _check_stopping),
    ((_SAVE, _EVAL, _HELD_OUT, _BEST), _check_intervals),
    (("data.min_length", "data.max_length"), _check_lengths),
    (("training.learning_rate",), _check_rate),
    (("training.max_steps", "training.num_train_epochs"), _check_duration),
    (("training.lr_scheduler_type", "training.warmup_steps"), _check_schedule),
    (("model.trust_remote_code",), _check_trust),
    (
        ("model.attn_implementation", "model.device_map", "data.padding", "training.output_dir"),
        _mention_fallbacks,
    ),
    (("model.base_model_name",), _mention_model),
    (("lora.target_modules",), _check_modules),
    ((_SERVER, _SERVED, _REMOTE), _check_server),
    (("training.num_machines", "training.meeting_point"), _check_machines),
    ((_SHARDING, _PROCESSES, _MACHINES, _FOUR_BIT, *_OF_WHOLE_WEIGHTS), _check_sharding),
)


def find_dataset(path: str, folders: Collection[Path]) -> Path | None:
    """The dataset's file; a relative path is tried from each folder in turn."""
    chosen = Path(path).expanduser()
    return next((full for folder in folders if (full := folder / chosen).is_file()), None)


def check_dataset(merged: Layer, folders: Collection[Path], required: bool) -> None:
    """A dataset that is not there: a notice while a template is written, an error when a run starts."""
    settings = Settings(merged)
    key = "data.dataset_path"
    path = settings.value(key)
    severity: Severity = "error" if required else "notice"
    if path is None:
        settings.say(key, "not set; choose a dataset when you start the run", severity)
    elif isinstance(path, str) and find_dataset(path, folders) is None:
        message = f"no file there (got {path}); correct the path, or choose a dataset when you start the run"
        settings.say(key, message, severity)
