"""What a run computes with: chosen before the model is loaded, and proven on the model itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import torch

from medlora.config.plan import count_steps
from medlora.config.portion import cut_batches, join_batches
from medlora.models.architecture import ArchitectureFacts
from medlora.training.attention import flat_is_proven
from medlora.training.device import Setup, choose_setup
from medlora.training.examples import Examples
from medlora.training.fast_path import is_worth_compiling
from medlora.training.proof import losses_agree

if TYPE_CHECKING:
    from medlora.training.session import Session


def plan_setup(
    session: Session, facts: ArchitectureFacts, settings: dict[str, Any], examples: Examples
) -> Setup:
    """What to compute with, before the model is loaded."""
    session.phase("preparing", "finding out what this machine computes fastest")
    config = session.config
    setup = choose_setup(config, facts.hidden_size, facts.intermediate_size)
    if setup.attention == "sdpa" and settings.get("attn_logit_softcapping"):
        capped = "model.attn_implementation: this model caps its attention, which sdpa cannot; eager is used"
        setup = replace(setup, attention="eager", notices=(*setup.notices, capped))
    flat = setup.attention != "eager" and flat_is_proven(settings, examples.longest)
    batch, portions = config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps
    if flat and setup.device == "cpu":
        free = psutil.virtual_memory().available // session.ranks.world
        batch, portions = cut_batches(config, facts, examples.lengths, free)
    elif flat and setup.device == "cuda":
        batch, portions = join_batches(config, facts, examples.lengths, torch.cuda.mem_get_info()[0])
    setup = replace(setup, flat=flat, micro_batch=batch, accumulation=portions)
    steps = count_steps(config, len(examples.train))
    tokens = steps * batch * portions * sum(examples.lengths) // max(1, len(examples.lengths))
    return replace(setup, compiled=is_worth_compiling(setup, facts, tokens))


def prove_setup(session: Session, model: Any, examples: Examples, setup: Setup) -> Setup:
    """The setup with only those fast paths that gave this model's own loss on a few short rows.

    Why every process looks and the first is believed: of a sharded model each holds a part.
    """

    def agree(tried: Setup) -> bool:
        found = losses_agree(model, examples.train, tried)
        return bool(session.ranks.decide(lambda: found))

    if agree(setup):
        return replace(setup, label_only=True)
    training = session.config.training
    plain = replace(
        setup,
        flat=False,
        compiled=False,
        micro_batch=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
    )
    return replace(plain, label_only=agree(plain))
