"""The whole configuration: seven sections, each setting declared once with its type, bounds and help."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from medlora.config.declare import Section, SettingDoc, describe_setting, setting
from medlora.config.settings_data import DataSettings, InferenceSettings, SafetySettings
from medlora.config.settings_evaluation import EvaluationSettings, ReleaseSettings
from medlora.config.settings_model import LoraSettings, ModelSettings, QuantizationSettings
from medlora.config.settings_training import TrainingSettings

__all__ = [
    "Config",
    "DataSettings",
    "EvaluationSettings",
    "InferenceSettings",
    "LoraSettings",
    "ModelSettings",
    "QuantizationSettings",
    "ReleaseSettings",
    "SafetySettings",
    "SettingDoc",
    "TrainingSettings",
    "find_setting",
    "section_names",
    "setting_docs",
]


class Config(Section):
    """A complete, valid configuration. `model_dump(mode="json")` gives the manual's plain shape."""

    model: ModelSettings = setting(ModelSettings(), "Model", "The base model and how it is loaded.")
    lora: LoraSettings = setting(
        LoraSettings(), "LoRA", "The adapter: how much is trained beside the frozen model."
    )
    training: TrainingSettings = setting(TrainingSettings(), "Training", "How the adapter is trained.")
    data: DataSettings = setting(DataSettings(), "Data", "The dataset and how its records become examples.")
    safety: SafetySettings = setting(SafetySettings(), "Safety", "What guards the conversation.")
    inference: InferenceSettings = setting(InferenceSettings(), "Inference", "How answers are drawn in chat.")
    evaluation: EvaluationSettings = setting(EvaluationSettings(), "Evaluation", "How an adapter is judged.")


def section_names() -> tuple[str, ...]:
    """The sections in the order in which files write them."""
    return tuple(Config.model_fields)


@cache
def _docs_by_key() -> dict[str, SettingDoc]:
    return {doc.key: doc for doc in _walk(Config, "")}


def setting_docs() -> list[SettingDoc]:
    """Every setting, in the order of the sections."""
    return list(_docs_by_key().values())


def find_setting(key: str) -> SettingDoc | None:
    """The setting of that dotted name, if there is one."""
    return _docs_by_key().get(key)


def _walk(model: type[BaseModel], prefix: str) -> list[SettingDoc]:
    docs: list[SettingDoc] = []
    for name, info in model.model_fields.items():
        kind: Any = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            docs += _walk(kind, f"{prefix}{name}.")
        else:
            docs.append(describe_setting(f"{prefix}{name}", info))
    return docs
