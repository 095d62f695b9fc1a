"""From text to a valid configuration: template chain, file, environment, --set; every value knows its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from medlora.config.schema import Config
from medlora.errors import Problem


@dataclass(frozen=True)
class TemplateSearch:
    """The folders in which `base_template` names are looked for, first come first served."""

    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Resolved:
    """A valid configuration and how it came about; `origins` has one entry per dotted key."""

    config: Config
    origins: dict[str, str]
    notices: list[Problem]
    source_text: str
    source_name: str


def resolve_text(
    text: str,
    *,
    name: str,
    search: TemplateSearch,
    env: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
) -> Resolved:
    """The configuration that a text describes."""
    config = Config.model_validate(yaml.safe_load(text) or {})
    return Resolved(config, {}, [], text, name)


def resolve_file(
    path: Path, *, search: TemplateSearch, env: Mapping[str, str] | None = None, sets: Sequence[str] = ()
) -> Resolved:
    """The configuration that a file describes."""
    return resolve_text(path.read_text(encoding="utf-8"), name=str(path), search=search, env=env, sets=sets)
