"""An adapter from elsewhere into the library: unpacked aside, checked whole, then published by a rename."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.models.adapter_check import BaseShape, check_missing_layers, check_settings, check_weights
from medlora.models.files import STARTER, ModelFiles, find_model, local_folder
from medlora.models.weight_hash import hash_file, hash_model
from medlora.runs.store import free_adapter_name, make_slug
from medlora.services.adapter_archive import SETTINGS, WEIGHTS, unpack
from medlora.services.adapters import part, read_object
from medlora.workspace import Workspace, check_name, make_private, write_json

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Imported:
    """What became of an import. notices: what could not be checked, or was left behind."""

    name: str
    base_model: str
    notices: tuple[str, ...]


def import_adapter(
    ws: Workspace, source: Path, *, name: str | None = None, base: str | None = None
) -> Imported:
    """Check an adapter and put it into the library; a taken name gets -2.

    base: the base model it belongs to, where its files do not say or name a folder of another machine.
    Raises: UserError with every problem, one a line; nothing is kept then.
    """
    if not source.exists():
        raise UserError(f"adapter: there is no such file or folder (got {str(source)[:200]!r})")
    stem = re.sub(r"\.(zip|tgz|tar(\.\w+)?)$", "", source.name)
    wished = check_name(name, "adapter") if name else make_slug(stem)
    staging = make_private(ws.adapters / f".adding-{secrets.token_hex(8)}")
    try:
        unpack(source, staging)
        return _check_and_publish(ws, staging, wished, base)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_and_publish(ws: Workspace, staging: Path, wished: str, base: str | None) -> Imported:
    settings = read_object(staging / SETTINGS)
    provenance = read_object(staging / "provenance.json")
    problems = check_settings(settings) if settings else [f"{SETTINGS}: it is not a JSON object"]
    named, files = _find_base(ws, settings, provenance, base, problems)
    notices: list[str] = []
    if not problems:
        problems += _check_against(staging, settings, provenance, files)
    if files is None and not problems:
        notices.append(
            f"The base model {named} is not on this machine: layers and widths are checked when it is loaded."
        )
    if problems:
        raise UserError("\n".join(f"adapter {wished}: {problem}" for problem in dict.fromkeys(problems)))
    provenance = _settle_provenance(staging, provenance, named, notices)
    settings["base_model_name_or_path"] = named
    write_json(staging / SETTINGS, settings)
    write_json(staging / "provenance.json", provenance)
    return Imported(_publish(ws, staging, wished), named, tuple(notices))


def _find_base(
    ws: Workspace,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
    wished: str | None,
    problems: list[str],
) -> tuple[str, ModelFiles | None]:
    """The base model's name and, if it is here, its files.

    Why a folder must be named by the user: a path in a file from elsewhere means nothing here, or harm.
    """
    recorded = part(provenance, "base_model").get("name")
    written = settings.get("base_model_name_or_path")
    named = wished or (recorded if isinstance(recorded, str) else written)
    if not isinstance(named, str) or not named:
        problems.append("base_model_name_or_path: its base model is not named; say which with --base")
        return "", None
    portable = named == STARTER or (_HUB_ID.fullmatch(named) and ".." not in named)
    if not portable and not (wished and local_folder(wished)):
        fault = f"not a model's name (got {named[:80]!r})"
        problems.append(
            f"--base: {fault}; use starter, a Hub id (owner/model) or a folder"
            if wished
            else f"base_model_name_or_path: {fault}; say which it is with --base"
        )
        return "", None
    known = next((text for text in (recorded, written) if _is_portable(text)), None)
    if wished and known and wished != known and not local_folder(wished):
        problems.append(f"base model: it was made for {known}, not for {wished}")
    return named, find_model(ws, named)


def _is_portable(text: Any) -> bool:
    return isinstance(text, str) and (text == STARTER or _HUB_ID.fullmatch(text) is not None)


def _check_against(
    staging: Path, settings: Mapping[str, Any], provenance: Mapping[str, Any], files: ModelFiles | None
) -> list[str]:
    problems = []
    shape = None
    if files is not None:
        try:
            shape = BaseShape.read(files.path)
        except ValueError as error:
            problems.append(f"base model {files.name}: {error}; fetch it again")
    weights = staging / WEIGHTS
    problems += check_weights(weights, settings, shape)
    if shape is not None and not problems:
        problems += check_missing_layers(weights, settings, shape)
    said = provenance.get("weights_sha256")
    if said is not None and said != hash_file(weights):
        problems.append(f"{WEIGHTS}: not the weights that provenance.json speaks of; fetch it again")
    if files is not None and not problems:
        problems += _check_identity(part(provenance, "base_model"), files)
    return problems


def _check_identity(recorded: Mapping[str, Any], files: ModelFiles) -> list[str]:
    """Why the hash comes first: the same weights under another revision's name are the same weights."""
    wanted, revision = recorded.get("weight_hash"), recorded.get("revision")
    if wanted:
        found = hash_model(files)
        if found != wanted:
            return [
                f"base model: it was trained on other weights of {files.name} than are on this machine "
                f"({str(wanted)[:12]}, here {found[:12]}); fetch the revision it names"
            ]
    elif revision and files.revision and revision != files.revision:
        return [
            f"base model: it was trained on revision {str(revision)[:40]} of {files.name}, "
            f"here is {files.revision}; fetch that revision"
        ]
    return []


def _settle_provenance(
    staging: Path, provenance: dict[str, Any], base: str, notices: list[str]
) -> dict[str, Any]:
    """What is on record of it from now on; settings that this version cannot read are left out."""
    config = part(provenance, "config")
    if config:
        try:
            Config.model_validate(dict(config))
        except ValidationError:
            notices.append("Its configuration was written by another version and is not used in chat.")
            provenance = {**provenance, "config": {}, "config_as_written": dict(config)}
    else:
        notices.append("It brings no configuration: chat uses the default safety and sampling settings.")
    recorded = part(provenance, "base_model")
    return {
        **provenance,
        "base_model": {**recorded, "name": base},
        "weights_sha256": hash_file(staging / WEIGHTS),
        "imported": datetime.now().astimezone().isoformat(timespec="seconds"),
        "created": provenance.get("created") or datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _publish(ws: Workspace, staging: Path, wished: str) -> str:
    for path in staging.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    while True:
        name = free_adapter_name(ws, wished)
        try:
            staging.rename(ws.adapter(name))
            return name
        except OSError:
            if not ws.adapter(name).exists():
                raise
