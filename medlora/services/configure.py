"""The Configure tab's verbs: examine a text, show where values come from, forecast its memory.

Templates and drafts come from `templates`, the form from `configure_form`; both are named here too, so
that page and command line have one door.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medlora.config.memory import Forecast
from medlora.config.plan import count_steps, plan_warmup
from medlora.config.resolve import Above, Diagnosis, Resolved, diagnose_file, diagnose_text
from medlora.config.scalars import write_scalar
from medlora.config.schema import Config, setting_docs
from medlora.errors import NotFoundError, Problem, UserError
from medlora.models.architecture import fit_target_modules
from medlora.models.files import may_be_on_hub, read_facts
from medlora.safety.messages import check_edits, country_table
from medlora.safety.semantic import is_installed
from medlora.services.configure_form import FormField, apply_form, form_values
from medlora.services.forecast import known_forecast, trace_forecast
from medlora.services.templates import (
    Draft,
    Template,
    lay_over,
    list_templates,
    load_draft,
    read_template,
    save_draft,
    save_template,
    start_draft,
    template_search,
)
from medlora.workspace import Workspace

__all__ = [
    "ANY_DATASET",
    "Draft",
    "Examination",
    "Forecast",
    "FormField",
    "OriginRow",
    "Template",
    "apply_form",
    "estimate",
    "examine",
    "examine_file",
    "find_config_file",
    "form_values",
    "lay_over",
    "list_templates",
    "load_draft",
    "read_template",
    "resolve_draft",
    "save_draft",
    "save_template",
    "start_draft",
    "template_search",
]

ANY_DATASET = "chosen on the page"
"""What stands for a dataset that is not chosen in the text itself."""

_MODULES = "lora.target_modules"
_NO_TIER = "its packages are not installed, so nothing changes; pip install -r requirements-semantic.txt"


@dataclass(frozen=True)
class OriginRow:
    """One resolved value and where it came from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True)
class Examination:
    """Everything there is to say about a configuration.

    A problem's `line` is set only where it lies in the examined text itself, so an editor can mark it.
    """

    problems: list[Problem]
    notices: list[Problem]
    resolved: Resolved | None

    @property
    def ok(self) -> bool:
        return self.resolved is not None and not self.problems

    @property
    def origins(self) -> list[OriginRow]:
        """Every setting in the order of the sections; empty while there are errors."""
        if self.resolved is None:
            return []
        values = _flatten(self.resolved.config.model_dump(mode="json"))
        return [
            OriginRow(doc.key, write_scalar(values[doc.key]), self.resolved.origins[doc.key])
            for doc in setting_docs()
        ]

    @property
    def resolved_text(self) -> str:
        """The whole resolved configuration as YAML, each value with its origin behind it."""
        return "" if self.resolved is None else _write_resolved(self.origins)


def examine(
    ws: Workspace,
    text: str,
    dataset: str | None = None,
    *,
    name: str = "config.yaml",
    sets: Sequence[str] = (),
    rows: int | None = None,
) -> Examination:
    """The verdict on a text, under this process's environment and `sets`.

    `name` is what messages call the text; the path of a file lets it stand on templates beside it.
    `dataset` tells that one is chosen, so the one the file names need not be there; `rows`, the number of
    records to train on, lets warmup be checked against the length of the run.
    """
    above = Above(os.environ, sets)
    search = template_search(ws)
    diagnosis = diagnose_text(text, name=name, search=search, above=above)
    shown = search.display(Path(name)) if Path(name).is_file() else name
    return _examine(ws, diagnosis, _Asked(shown, dataset, rows))


def resolve_draft(ws: Workspace) -> Config | None:
    """The configuration that is being written, as it resolves; None while it has errors."""
    examined = examine(ws, load_draft(ws).text, ANY_DATASET)
    return examined.resolved.config if examined.resolved is not None else None


def examine_file(
    ws: Workspace, file: str, *, sets: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Examination:
    """The verdict on a file or a template's name.

    Raises: NotFoundError if there is neither.
    """
    path = find_config_file(ws, file)
    search = template_search(ws)
    diagnosis = diagnose_file(path, search=search, above=Above(os.environ if env is None else env, sets))
    return _examine(ws, diagnosis, _Asked(search.display(path), None, None))


def find_config_file(ws: Workspace, file: str) -> Path:
    """The file of that path, else the template of that name.

    Raises: NotFoundError if there is neither.
    """
    given = Path(file).expanduser()
    if given.is_file():
        return given
    found = template_search(ws).find(given.name) if given.parent in (Path(), Path("configs")) else None
    if found is None:
        beside = [path.name for path in Path.cwd().glob("*.yaml") if path.stem == file]
        known = [*beside, *(template.name for template in list_templates(ws))]
        raise NotFoundError.among("config: there is no such file and no such template", file, known)
    return found


def estimate(ws: Workspace, config: Config, *, longest: int | None = None, wait: bool = False) -> Forecast:
    """The memory a run needs on this machine; `longest` is the longest record in tokens, where known.

    wait: for a trace of the real architecture, some seconds; else the best that is known at once.
    Raises: UserError when nothing is known of the model before it is downloaded.
    """
    return (trace_forecast if wait else known_forecast)(ws, config, longest=longest)


@dataclass(frozen=True)
class _Asked:
    name: str
    dataset: str | None
    rows: int | None


def _examine(ws: Workspace, diagnosis: Diagnosis, asked: _Asked) -> Examination:
    found = list(diagnosis.problems)
    if asked.dataset:
        found = [problem for problem in found if problem.key != "data.dataset_path"]
    if diagnosis.resolved is not None:
        found += _check_model(ws, diagnosis.resolved) + _check_safety(diagnosis.resolved)
        found += _check_warmup(diagnosis.resolved, asked.rows)
    found = [_locate(problem, asked.name) for problem in found]
    problems = [problem for problem in found if problem.severity == "error"]
    notices = [problem for problem in found if problem.severity == "notice"]
    return Examination(problems, notices, diagnosis.resolved)


def _locate(problem: Problem, name: str) -> Problem:
    """The problem with its line, if that line is one of the examined text."""
    prefix = f"{name}:"
    if not problem.where.startswith(prefix):
        return replace(problem, line=None)
    line = problem.where.removeprefix(prefix).split(":", 1)[0]
    return replace(problem, line=int(line) if line.isdigit() else None)


def _place(resolved: Resolved, key: str) -> str:
    origin = resolved.origins[key]
    return "" if origin == "default" else origin


def _check_model(ws: Workspace, resolved: Resolved) -> list[Problem]:
    """Target modules against the architecture, before anything is downloaded."""
    model, where = resolved.config.model.base_model_name, _place(resolved, _MODULES)
    try:
        facts = read_facts(ws, model)
    except UserError as error:
        return [Problem(_place(resolved, "model.base_model_name"), "model.base_model_name", str(error))]
    if facts is None:
        key = "model.base_model_name"
        message = (
            f"this model is downloaded when a run starts, and its layers are checked then (got {model})"
            if may_be_on_hub(model)
            else f"there is no such model on this machine (got {model}); name the starter, a Hub id "
            "(owner/model) or a folder"
        )
        return [Problem(_place(resolved, key), key, message, "notice")]
    _, notices, errors = fit_target_modules(resolved.config.lora.target_modules, facts)
    return [
        *(Problem(where, _MODULES, message) for message in errors),
        *(Problem(where, _MODULES, message, "notice") for message in notices),
        *_check_layers(resolved, facts.layers),
    ]


def _check_layers(resolved: Resolved, layers: int) -> list[Problem]:
    """Why: PEFT passes over a number that no layer has, without a word."""
    key = "lora.layers_to_transform"
    beyond = [n for n in resolved.config.lora.layers_to_transform or () if not 0 <= n < layers]
    if not beyond:
        return []
    message = f"this model has the layers 0 to {layers - 1} (got {', '.join(map(str, beyond))}); correct them"
    return [Problem(_place(resolved, key), key, message)]


def _check_safety(resolved: Resolved) -> list[Problem]:
    safety = resolved.config.safety
    semantic = "safety.semantic"
    missing = [Problem(_place(resolved, semantic), semantic, _NO_TIER, "notice")]
    where = _place(resolved, "safety.messages")
    problems = [Problem(where, "", message) for message in check_edits(safety.messages)]
    problems += missing if safety.semantic and not is_installed() else []
    if safety.country != "none" and safety.country not in country_table():
        known = ", ".join(sorted(str(code) for code in country_table()))
        message = f"no numbers are known for it (got {safety.country}); known are {known}"
        problems.append(Problem(_place(resolved, "safety.country"), "safety.country", message, "notice"))
    return problems


def _check_warmup(resolved: Resolved, rows: int | None) -> list[Problem]:
    if not rows:
        return []
    notice = plan_warmup(resolved.config, count_steps(resolved.config, rows)).notice
    key = "training.warmup_steps"
    if notice is None:
        return []
    return [Problem(_place(resolved, key), key, notice.removeprefix(f"{key}: "), "notice")]


def _flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of the settings; a setting that holds a table stays one."""
    known = {doc.key for doc in setting_docs()}
    flat: dict[str, Any] = {}

    def walk(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            dotted = f"{prefix}{key}"
            if dotted in known:
                flat[dotted] = value
            else:
                walk(value, f"{dotted}.")

    walk(tree, "")
    return flat


def _write_resolved(rows: list[OriginRow]) -> str:
    lines: list[str] = []
    opened: list[str] = []
    for row in rows:
        *path, leaf = row.key.split(".")
        for depth, part in enumerate(path):
            if opened[: depth + 1] != path[: depth + 1]:
                lines += ([""] if depth == 0 and lines else []) + [f"{'  ' * depth}{part}:"]
        opened = path
        lines.append(f"{'  ' * len(path)}{leaf}: {row.value}  # {row.origin}")
    return "\n".join(lines) + "\n"
