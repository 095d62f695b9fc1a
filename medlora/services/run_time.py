"""How long a run may take: a rough figure, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medlora.config.plan import count_steps
from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.models.files import read_facts
from medlora.models.hardware import Hardware
from medlora.runs.store import list_runs, load_record
from medlora.workspace import Workspace

_CHARACTERS_PER_TOKEN = 4.5
_RECENT_RUNS = 40
# Parameters × tokens per second of LoRA training, as a first guess before a run was measured here.
# Source: SmolLM2-135M on one CPU thread in fp32 and in bf16 with AMX; Llama-2-7B on one A100.
_ASSUMED_RATE = {"cpu": 1.8e10, "cpu-bf16": 4.0e10, "mps": 1.0e12, "cuda": 1.5e13}


@dataclass(frozen=True)
class Load:
    """What there is to learn from, as far as it is known without the tokenizer."""

    rows: int
    bytes_per_row: float


def forecast_time(
    ws: Workspace, config: Config, load: Load, hardware: Hardware
) -> tuple[Literal["ok", "notice"], str]:
    """A rough time, from what runs of this model measured here, else from what such machines do."""
    steps = count_steps(config, max(1, round(load.rows * (1 - config.data.eval_dataset_size))))
    training = config.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    rows = steps * batch * training.all_processes
    system = len(config.safety.system_prompt) / _CHARACTERS_PER_TOKEN
    row_tokens = load.bytes_per_row / _CHARACTERS_PER_TOKEN + system
    tokens = rows * min(row_tokens, config.data.max_seq_length)
    rate, measured = _token_rate(ws, config.model.base_model_name, hardware)
    if rate is None:
        return "notice", f"{steps} steps; how long they take shows after the first ones."
    basis = "as the last run of this model here" if measured else "a guess for such a machine"
    words = _in_words(tokens / rate)
    return "ok", f"Roughly {words}: {steps} steps at {rate:.0f} tokens per second ({basis})."


def _token_rate(ws: Workspace, model: str, hardware: Hardware) -> tuple[float | None, bool]:
    for run in list_runs(ws)[:_RECENT_RUNS]:
        try:
            record = load_record(run)
        except UserError:
            continue
        results = record.get("results") or {}
        same = record.get("config", {}).get("model", {}).get("base_model_name") == model
        if same and isinstance(rate := results.get("tokens_per_second"), int | float) and rate > 0:
            return float(rate), True
    try:
        facts = read_facts(ws, model)
    except UserError:
        return None, False
    if facts is None:
        return None, False
    kind = "cpu-bf16" if hardware.kind == "cpu" and hardware.bf16 else hardware.kind
    return _ASSUMED_RATE[kind] / facts.parameters, False


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
