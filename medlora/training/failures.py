"""What went wrong in a run, in words for the person who started it."""

from __future__ import annotations

import errno

from medlora.errors import UserError
from medlora.training.fit import NonFiniteLossError
from medlora.training.launch import RankError

Explanation = tuple[str, str | None]  # reason, hint

# The last two are torch's: its writer does not pass on the system's own words.
_NO_SPACE = (
    "no space left on device",
    "disk quota exceeded",
    "not enough space on the disk",
    "pytorchstreamwriter failed writing",
    "inline_container.cc",
)
# The first three are gloo's, the last is NCCL's.
_PEER_GONE = ("closed by peer", "reset by peer", "gloo", "nccl")
# The last one is what CUDA's own libraries say.
_NO_MEMORY = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory",
    "_status_alloc_failed",
)  # fmt: skip


def explain(error: BaseException) -> Explanation:
    """Why a run ended, and what to do. Never quotes an unexpected error, whose text might hold a record's."""
    if isinstance(error, RankError):
        return error.failure.reason, error.failure.hint
    if isinstance(error, UserError):
        return str(error), None
    if isinstance(error, NonFiniteLossError):
        return (
            f"Training stopped: {error}",
            "Start a new run with a lower training.learning_rate (a tenth is a good try), more warmup_steps "
            "or max_grad_norm 0.5; the template more_stable does all of it.",
        )
    if is_disk_full(error):
        return (
            "The disk is full, so nothing more could be saved",
            "Free some space and press Resume: the last complete checkpoint was kept.",
        )
    if is_out_of_memory(error):
        return (
            "The memory of this machine was not enough",
            "Halve per_device_train_batch_size and double gradient_accumulation_steps, lower "
            "max_seq_length, or turn on gradient_checkpointing; the template less_memory does all of it.",
        )
    return (
        f"An unexpected error ({type(error).__name__})",
        "The run's log holds the details. Resume continues from the last complete checkpoint.",
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk is behind this error or one that caused it."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
            return True
        if any(words in str(link).lower() for words in _NO_SPACE):
            return True
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether missing memory is behind this error, on any device."""
    return any(
        isinstance(link, MemoryError)
        or (isinstance(link, RankError) and link.failure.kind == "memory")
        or (isinstance(link, RuntimeError) and any(words in str(link).lower() for words in _NO_MEMORY))
        for link in _chain(error)
    )


def is_peer_gone(error: BaseException) -> bool:
    """Whether another process of the run was gone, so that waiting for it failed."""
    return any(
        isinstance(link, RuntimeError) and any(words in str(link).lower() for words in _PEER_GONE)
        for link in _chain(error)
    )


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links
