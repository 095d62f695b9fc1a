"""What a Space says of itself through its environment.

Source: the Hub's documentation of Spaces (built-in variables, ZeroGPU, OAuth), and gradio.utils.get_space.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from medlora.errors import UserError

PORT = 7860


@dataclass(frozen=True)
class SpaceSettings:
    """whole: the whole app behind the Hub's login; else the demo. storage: a bucket that keeps the home.

    short_runs: the demo's visitors may start a run of a few steps; not on ZeroGPU, which lends a run no GPU.
    admins, testers: names on the Hub; the Space's author is always an admin.
    """

    host: str
    zero_gpu: bool = False
    whole: bool = False
    storage: str = ""
    admins: frozenset[str] = frozenset()
    testers: frozenset[str] = frozenset()
    short_runs: bool = False


def is_space(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Space."""
    return environ.get("SYSTEM") == "spaces" and bool(environ.get("SPACE_ID"))


def read_settings(environ: Mapping[str, str] = os.environ) -> SpaceSettings:
    """What this Space is to be.

    Raises: UserError for a wish that its hardware or its settings do not allow.
    """
    mode = environ.get("MEDLORA_SPACE", "").strip().lower() or "demo"
    if mode not in ("demo", "whole"):
        raise UserError(f"env MEDLORA_SPACE: demo or whole (got {mode!r})")
    zero_gpu = environ.get("SPACES_ZERO_GPU", "").strip().lower() in ("1", "t", "true", "yes")
    storage = environ.get("MEDLORA_HOME", "").strip()
    if mode == "whole":
        _check_whole(environ, zero_gpu, storage)
    author = environ.get("SPACE_AUTHOR_NAME", "").strip().casefold()
    return SpaceSettings(
        host=environ.get("SPACE_HOST", "").split(",")[0].strip(),
        zero_gpu=zero_gpu,
        whole=mode == "whole",
        storage=storage,
        admins=_names(environ, "MEDLORA_ADMINS") | ({author} if author else frozenset()),
        testers=_names(environ, "MEDLORA_TESTERS"),
        short_runs=mode == "demo" and not zero_gpu and _is_on(environ, "MEDLORA_SHORT_RUNS"),
    )


def _check_whole(environ: Mapping[str, str], zero_gpu: bool, storage: str) -> None:
    if zero_gpu:
        raise UserError(
            "env MEDLORA_SPACE: a run cannot train on ZeroGPU, whose GPU is lent by the minute; choose one "
            "of the Space's own, or the demo"
        )
    if not environ.get("OAUTH_CLIENT_ID"):
        raise UserError(
            "env MEDLORA_SPACE: the whole app needs the Hub's login; write `hf_oauth: true` into the "
            "README's front matter"
        )
    if not storage:
        raise UserError(
            "env MEDLORA_SPACE: the whole app needs storage that lasts; mount a bucket and set MEDLORA_HOME "
            "to a folder in it"
        )


def _is_on(environ: Mapping[str, str], key: str) -> bool:
    word = environ.get(key, "").strip().lower() or "on"
    if word not in ("on", "off"):
        raise UserError(f"env {key}: on or off (got {word!r})")
    return word == "on"


def _names(environ: Mapping[str, str], key: str) -> frozenset[str]:
    return frozenset(name.casefold() for name in re.findall(r"[^\s,]+", environ.get(key, "")))
