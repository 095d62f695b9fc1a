"""What can go wrong, and whose fault it is.

    MedloraError
    ├── UserError            shown as it is; the command line exits with 2
    │   ├── ConfigError      carries every located problem of a configuration
    │   ├── DataError        a record or a dataset that cannot be used as it is
    │   └── NotFoundError    a name that nothing answers to
    ├── RunFailedError       a run or a worker ended without its result; exit 3
    └── InternalError        a bug in medlora; exit 1

Messages read `place: field: what is wrong (got X); what to do`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "notice"]
_MOST_NAMES = 20
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
DISK_FULL = "disk: it is full; make room, or set MEDLORA_HOME to a folder on a larger disk"


@dataclass(frozen=True)
class Problem:
    """One located problem.

    `where` is `file:line:col`, `env NAME`, `--set` or empty; `key` a dotted setting name or empty.
    A notice never stops anything: it says what will be done differently and why.
    """

    where: str
    key: str
    message: str
    severity: Severity = "error"
    line: int | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class MedloraError(Exception):
    """The root of everything raised on purpose."""


class UserError(MedloraError):
    """The input is wrong in a way the user can mend."""


class ConfigError(UserError):
    """A configuration with at least one problem; all of them are in `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class DataError(UserError):
    """A record or a dataset that cannot be used as it is. Never carries a record's text."""


class NotFoundError(UserError):
    """A dataset, run, adapter or template of that name does not exist."""

    @classmethod
    def among(cls, wrong: str, name: str, known: Iterable[str]) -> NotFoundError:
        """The error for a name that is not among those there are, with the likeliest one meant.

        wrong: place and fault, such as `adapter: there is none of this name`.
        """
        names = list(known)
        near = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean {near[0]}? There" if near else "there"
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        there = f"are: {', '.join(names[:_MOST_NAMES])}{more}" if names else "are none yet"
        return cls(f"{wrong} (got {name[:80]!r}); {meant} {there}")


class RunFailedError(MedloraError):
    """A run or a worker process ended without the result it was started for."""


class InternalError(MedloraError):
    """A state that should not exist: a bug, to be reported with its traceback."""


def explain_disk(error: BaseException) -> UserError | None:
    """The words for a disk that is full or that refuses a file, if that is what an error says; else None.

    Why at the edges and not where a file is written: it may happen at any write, and is never a bug.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return UserError(DISK_FULL)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS) and error.filename:
        return UserError(
            f"{error.filename}: this may not be read or written by you ({error.strerror}); change its owner "
            "or its permissions, or set MEDLORA_HOME to a folder of your own"
        )
    return None
