"""Templates and drafts: the texts of configurations, shipped, saved or being written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medlora.config.edit import set_value
from medlora.config.layers import read_layer
from medlora.config.resolve import TemplateSearch, resolve_text
from medlora.config.source import MAX_BYTES, parse_source, read_text
from medlora.errors import NotFoundError, UserError
from medlora.models.hardware import cached_hardware
from medlora.workspace import Workspace, check_name, make_private, write_atomic, write_json

TemplateKind = Literal["model", "remedy", "environment", "yours"]

SHIPPED: dict[str, TemplateKind] = {
    "starter": "model",
    "default": "model",
    "gpu_6gb": "model",
    "medical_qa": "model",
    "less_memory": "remedy",
    "more_stable": "remedy",
    "faster": "remedy",
    "config.dev": "environment",
    "config.prod": "environment",
    "config.test": "environment",
}
_FIRST_LINE = re.compile(r"#\s*([^:\n]{1,80}):\s*(.+)")


@dataclass(frozen=True)
class Template:
    """A template as a list shows it; `audience` says whom it is for."""

    name: str
    title: str
    audience: str
    kind: TemplateKind
    path: Path


@dataclass(frozen=True)
class Draft:
    """What stands in the editor, and the template it began as."""

    text: str
    template: str


def template_search(ws: Workspace) -> TemplateSearch:
    """Templates and datasets of this workspace: the user's own, then the shipped ones."""
    configs = tuple(dict.fromkeys((ws.user_configs, ws.shipped_configs)))
    return TemplateSearch(configs, tuple(dict.fromkeys((ws.home, ws.checkout))))


def list_templates(ws: Workspace) -> list[Template]:
    """Every template: the shipped ones in the order of a first look, the user's own after the models."""
    shipped = [_describe(ws.shipped_configs / f"{name}.yaml", kind) for name, kind in SHIPPED.items()]
    own: list[Template] = []
    if ws.user_configs.is_dir():
        paths = sorted(ws.user_configs.glob("*.yaml"))
        own = [_describe(path, "yours") for path in paths if path.stem not in SHIPPED and path.is_file()]
    models = [template for template in shipped if template.kind == "model"]
    return models + own + [template for template in shipped if template.kind != "model"]


def read_template(ws: Workspace, name: str) -> str:
    """The text of a template.

    Raises: NotFoundError if there is none of that name.
    """
    path = _find(ws, name)
    return read_text(path, template_search(ws).display(path))


def save_template(ws: Workspace, name: str, text: str, *, replace: bool = False) -> Template:
    """Keep a text as a template of the user's own.

    Raises: UserError for a name that cannot be used or is taken; ConfigError for a text with errors.
    """
    stem = check_name(name.strip().removesuffix(".yaml").removesuffix(".yml"), "template")
    if stem in SHIPPED:
        raise UserError(f"template: a shipped template has this name (got {stem}); choose another")
    path = ws.user_configs / f"{stem}.yaml"
    if path.exists() and not replace:
        raise UserError(f"template: this name is taken (got {stem}); choose another, or replace it")
    resolve_text(text, name=path.name, search=template_search(ws))
    if ws.user_configs != ws.shipped_configs:
        make_private(ws.user_configs)
    titled = text if _FIRST_LINE.match(text) and not _is_taken_title(ws, stem, text) else _retitle(stem, text)
    write_atomic(path, titled if titled.endswith("\n") else titled + "\n")
    return _describe(path, "yours")


def lay_over(ws: Workspace, text: str, name: str) -> str:
    """The text with every setting of a remedy written into it.

    Raises: NotFoundError for an unknown template; ConfigError if the text cannot be read.
    """
    table = parse_source(read_template(ws, name), name)
    for key, entry in read_layer(table).entries.items():
        text = set_value(text, key, entry.value)
    return text


def load_draft(ws: Workspace) -> Draft:
    """The draft as it was left, or the template that suits this machine."""
    path = _draft_path(ws)
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return Draft(str(kept["text"]), str(kept["template"]))
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
    hardware = cached_hardware(ws)
    name = "default" if hardware is not None and hardware.kind == "cuda" else "starter"
    return Draft(read_template(ws, name), name)


def save_draft(ws: Workspace, text: str, template: str = "") -> Draft:
    """Keep the editor's text, so that a reload or a crash loses nothing.

    Raises: UserError for a text that is larger than any configuration may be.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise UserError("configuration: larger than 64 KB; shorten it")
    draft = Draft(text, template or load_draft(ws).template)
    make_private(ws.drafts)
    write_json(_draft_path(ws), {"text": draft.text, "template": draft.template})
    return draft


def start_draft(ws: Workspace, template: str) -> Draft:
    """Begin anew from a template."""
    return save_draft(ws, read_template(ws, template), template)


def _draft_path(ws: Workspace) -> Path:
    return ws.drafts / "config.json"


def _find(ws: Workspace, name: str) -> Path:
    search = template_search(ws)
    path = search.find(name)
    if path is None:
        raise NotFoundError(
            f"template: there is none of that name (got {name!r}); there are {search.names()}"
        )
    return path


def _describe(path: Path, kind: TemplateKind) -> Template:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(500)
    found = _FIRST_LINE.match(first)
    title, audience = (found[1].strip(), found[2].strip()) if found else (path.stem, "")
    return Template(path.stem, title, audience, kind, path)


def _is_taken_title(ws: Workspace, name: str, text: str) -> bool:
    """Why: a saved copy with another template's title would stand twice in the list."""
    found = _FIRST_LINE.match(text)
    titles = {template.title for template in list_templates(ws) if template.name != name}
    return found is not None and found[1].strip() in titles


def _retitle(name: str, text: str) -> str:
    """A first line that names the template; one that another template began with is replaced."""
    rest = text.split("\n", 1)[1] if _FIRST_LINE.match(text) and "\n" in text else text
    return f"# {name.replace('_', ' ').replace('-', ' ').capitalize()}: your own template.\n{rest}"
