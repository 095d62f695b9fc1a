"""From text to a valid configuration: templates, file, environment, --set; every value knows its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlora.config.checks import check_dataset, check_together
from medlora.config.environment import read_environment, read_sets
from medlora.config.merge import merge_layers
from medlora.config.schema import Config, setting_docs
from medlora.config.source import parse_source, read_text
from medlora.config.templates import TemplateSearch, expand_templates
from medlora.config.values import validate_layer
from medlora.errors import ConfigError, InternalError, Problem

__all__ = [
    "Above",
    "Diagnosis",
    "Resolved",
    "TemplateSearch",
    "diagnose_file",
    "diagnose_text",
    "resolve_file",
    "resolve_text",
]


@dataclass(frozen=True)
class Resolved:
    """A valid configuration and how it came about.

    `origins` has one entry per dotted key: `configs/default.yaml:12:3`, `env LORA_RANK`, `--set` or
    `default`. `source_text` is what the user wrote, word for word.
    """

    config: Config
    origins: dict[str, str]
    notices: list[Problem]
    source_text: str
    source_name: str


@dataclass(frozen=True)
class Above:
    """What stands above the file: the environment and --set; and whether a dataset must be there."""

    env: Mapping[str, str] = field(default_factory=dict)
    sets: Sequence[str] = ()
    dataset_required: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Everything there is to say about a text; `resolved` is None when there is an error among it."""

    resolved: Resolved | None
    problems: list[Problem]


def resolve_text(
    text: str,
    *,
    name: str,
    search: TemplateSearch,
    env: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    dataset_required: bool = False,
) -> Resolved:
    """The configuration that a text describes, under the environment and --set.

    Raises: ConfigError with every error, those of the text first.
    """
    above = Above(env or {}, sets, dataset_required)
    return _insist(diagnose_text(text, name=name, search=search, above=above))


def resolve_file(
    path: Path,
    *,
    search: TemplateSearch,
    env: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    dataset_required: bool = False,
) -> Resolved:
    """The configuration that a file describes; templates beside it are found first.

    Raises: ConfigError as `resolve_text` does, or when the file cannot be read.
    """
    return _insist(diagnose_file(path, search=search, above=Above(env or {}, sets, dataset_required)))


def diagnose_text(text: str, *, name: str, search: TemplateSearch, above: Above | None = None) -> Diagnosis:
    """The same as `resolve_text` for an editor: notices are there even when there are errors.

    A name that is a file's path makes the text that file's: templates beside it are found first.
    """
    path = Path(name)
    if not path.is_file():
        return _diagnose(_Source(text, name, None), search, above or Above())
    return _diagnose(_Source(text, search.display(path), path), search.first(path.parent), above or Above())


def diagnose_file(path: Path, *, search: TemplateSearch, above: Above | None = None) -> Diagnosis:
    """The same as `resolve_file`, notices and errors alike.

    Raises: ConfigError when the file cannot be read.
    """
    name = search.display(path)
    source = _Source(read_text(path, name), name, path)
    return _diagnose(source, search.first(path.parent), above or Above())


def _insist(diagnosis: Diagnosis) -> Resolved:
    if diagnosis.resolved is None:
        raise ConfigError([problem for problem in diagnosis.problems if problem.severity == "error"])
    return diagnosis.resolved


@dataclass(frozen=True)
class _Source:
    text: str
    name: str
    path: Path | None


def _diagnose(source: _Source, search: TemplateSearch, above: Above) -> Diagnosis:
    layers = []
    broken: list[Problem] = []
    try:
        table = parse_source(source.text, source.name)
        layers += expand_templates(table, source.name, source.path, search)
    except ConfigError as error:
        broken += error.problems
    layers += [read_environment(above.env), read_sets(above.sets)]
    merged = merge_layers(layers)
    validated = validate_layer(merged)
    config = validated.config
    if not broken:
        check_together(merged, validated.wrong)
        check_dataset(merged, search.data_folders or (Path.cwd(),), above.dataset_required)
        config = validate_layer(merged).config if config else None
    problems = _in_order([*broken, *merged.problems], source.name)
    if any(problem.severity == "error" for problem in problems):
        return Diagnosis(None, problems)
    if config is None:
        raise InternalError("a configuration without problems did not validate")
    origins = {doc.key: "default" for doc in setting_docs()}
    origins.update({key: entry.where for key, entry in merged.entries.items()})
    return Diagnosis(Resolved(config, origins, problems, source.text, source.name), problems)


def _in_order(problems: Sequence[Problem], name: str) -> list[Problem]:
    """Errors before notices; those of the text itself first, by line; nothing twice."""
    unique = list(dict.fromkeys(problems))
    return sorted(
        unique,
        key=lambda problem: (
            problem.severity == "notice",
            not problem.where.startswith(f"{name}:"),
            problem.line or 0,
        ),
    )
