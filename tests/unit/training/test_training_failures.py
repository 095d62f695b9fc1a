"""What a run that failed says to the person who started it."""

from __future__ import annotations

import errno

import pytest

from medlora.errors import UserError
from medlora.training.failures import explain
from medlora.training.fit import NonFiniteLossError

pytestmark = pytest.mark.torch


def test_what_the_user_can_mend_is_said_as_it_is() -> None:
    assert explain(UserError("data: no rows; add some")) == ("data: no rows; add some", None)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 40896 vs 40784"),
    ],
)
def test_a_full_disk_is_recognised(error: Exception) -> None:
    reason, hint = explain(error)
    assert reason == "The disk is full, so nothing more could be saved"
    assert hint == "Free some space and press Resume: the last complete checkpoint was kept."


def test_a_full_disk_behind_another_error_is_recognised() -> None:
    outer = RuntimeError("PytorchStreamWriter failed writing file data/3")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert explain(outer)[0] == "The disk is full, so nothing more could be saved"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_missing_memory_is_recognised_and_advice_given(error: Exception) -> None:
    reason, hint = explain(error)
    assert reason == "The memory of this machine was not enough"
    assert hint is not None
    assert "gradient_checkpointing" in hint


def test_a_loss_that_is_no_number_names_its_step() -> None:
    reason, hint = explain(NonFiniteLossError("loss", 7))
    assert reason == "Training stopped: the loss became infinite or not a number at step 7"
    assert hint is not None


def test_an_unexpected_error_is_not_quoted_since_it_might_hold_a_record() -> None:
    reason, hint = explain(ValueError("cannot encode 'John Doe, 54, chest pain'"))
    assert reason == "An unexpected error (ValueError)"
    assert "John" not in reason + (hint or "")
