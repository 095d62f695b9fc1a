"""One run from its record to its adapter: the steps in their order, each in its own module."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any

from peft import PeftModel

from medlora.config.plan import count_steps, keeps_best, plan_warmup
from medlora.config.schema import Config
from medlora.models.architecture import facts_from_config
from medlora.models.files import STARTER, ModelFiles, find_model, read_model_config
from medlora.models.hub import download_model
from medlora.models.parent import read_parent
from medlora.models.starter import prepare_starter
from medlora.runs.events import append_event
from medlora.training.assemble import build_trainer, draw_apart
from medlora.training.callbacks import Checkpointer, EarlyStopping, LongerSchedule, Reporter, Stopper
from medlora.training.checkpoints import Checkpoint, newest_valid, remove_broken
from medlora.training.choice import plan_setup, prove_setup
from medlora.training.device import (
    Setup,
    apply_threads,
    load_setup,
    memory_now_gib,
    memory_peak_gib,
    save_setup,
)
from medlora.training.examples import Examples
from medlora.training.fast_path import take_fast_path
from medlora.training.fit import LabelTrainer
from medlora.training.folders import checkpoint_folder
from medlora.training.kept_examples import kept_or_prepared
from medlora.training.model import (
    AdapterFacts,
    attach_adapter,
    check_parent,
    load_base,
    load_parent,
    target_modules,
)
from medlora.training.ranks import ALONE, Ranks
from medlora.training.shortage import trial_is_due, try_longest
from medlora.training.stopping import StoppedEarly, StopWish
from medlora.training.trackers import prepare_tracker
from medlora.workspace import RunPaths, Workspace, make_private

Record = dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """Where a run got to.

    checkpoint: the one an adapter is made from; stopped: by wish, before the planned end.
    """

    checkpoint: Checkpoint
    setup: Setup
    total_steps: int
    stopped: bool
    early: bool
    seconds: float
    tokens_per_second: float | None
    peak_memory_gib: float

    @property
    def state(self) -> dict[str, Any]:
        """The Trainer's own record of the run up to the checkpoint."""
        text = (self.checkpoint.path / "trainer_state.json").read_text(encoding="utf-8")
        state: dict[str, Any] = json.loads(text)
        return state


@dataclass
class Session:
    """Everything that the steps of one run share."""

    ws: Workspace
    run: RunPaths
    record: Record
    stop: StopWish
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self.config = Config.model_validate(self.record["config"])
        self.checkpoints = checkpoint_folder(self.run, self.config.training.output_dir)

    def phase(self, name: str, detail: str = "", fraction: float | None = None) -> None:
        """Tell what is being done; also the moment to notice a stop."""
        self.stop.check()
        self.tell("phase", name=name, detail=detail, fraction=fraction)

    def notice(self, *messages: str) -> None:
        for message in messages:
            self.tell("notice", message=message)

    def tell(self, kind: str, **facts: Any) -> None:
        """Write an event; of several processes the first one does."""
        if self.ranks.first:
            append_event(self.run, kind, **facts)


def fetch_model(session: Session) -> ModelFiles:
    """The base model's files; fetched first when they are not on this machine.

    Raises: StoppedEarly as soon as a stop is asked for, UserError when they cannot be had.
    """
    name = session.config.model.base_model_name
    files = find_model(session.ws, name)
    if files is not None:
        return files
    last_s = 0.0

    def progress(detail: str, fraction: float | None) -> None:
        nonlocal last_s
        session.stop.check()
        if time.monotonic() - last_s >= 1.0:
            last_s = time.monotonic()
            session.tell("phase", name="model", detail=detail, fraction=fraction)

    if name == STARTER:
        return prepare_starter(session.ws, progress)
    return download_model(session.ws, name, progress)


def load_examples(session: Session, files: ModelFiles) -> Examples:
    """The rows of the run, encoded with the model's own tokenizer and chat template."""
    session.phase("data", "reading the dataset")
    with session.ranks.first_before_others():
        made = kept_or_prepared(session.ws, session.record, session.config, files.path)
    examples = made.examples
    if made.recalled:
        session.phase("data", "using the rows as an earlier run tokenised them")
    session.notice(*examples.notices, *made.notices)
    if examples.left_out:
        session.notice(
            f"{examples.left_out} of {examples.rows} rows are left out; the dataset's check lists them."
        )
    if examples.truncated:
        longest = session.config.data.max_seq_length
        session.notice(f"{examples.truncated} rows are longer than {longest} tokens and are cut there.")
    return examples


def fit(session: Session, files: ModelFiles, examples: Examples, resume: Checkpoint | None) -> Fitted:
    """Train to the planned end, an early one, or a stop.

    Raises: StoppedEarly when a stop came before there was anything to keep.
    """
    config, begin_s = session.config, time.monotonic()
    settings = read_model_config(files.path)
    facts = facts_from_config(settings)
    known = session.ranks.decide(lambda: load_setup(session.run.root / "setup.json"))
    setup = known or session.ranks.decide(lambda: plan_setup(session, facts, settings, examples))
    apply_threads(setup)
    session.phase("loading", f"loading {files.name} ({setup.precision})")
    modules, notices = target_modules(facts, config)
    session.notice(*setup.notices, *notices, *prepare_tracker(config, session.run))
    session.tell("held", memory_before_gib=round(memory_now_gib(setup.device), 3))
    base = load_base(files.path, files.name, config, setup, session.ranks)
    model, adapter = attach_adapter(base, config, setup, modules)
    if session.record.get("parent") and resume is None:
        _begin_with_parent(session, model, files)
    if known is None:
        setup = prove_setup(session, model, examples, setup)
    if setup.compiled:
        session.phase("preparing", "compiling for this machine; half a minute when it is the first time")
    with session.ranks.first_before_others():
        fast = take_fast_path(model, examples.train, setup, session.ws.private / "kernels")
    if fast.notice:
        session.notice(fast.notice)
    if known is None:
        setup = replace(setup, compiled=setup.compiled and fast.lacking is None)
        if session.ranks.first:
            save_setup(session.run.root / "setup.json", setup)
    total = count_steps(config, len(examples.train))
    _announce_plan(session, setup, adapter, examples, total)
    reporter = Reporter(session.run, setup.device)
    stopper = Stopper(session.stop, session.ranks)
    early = EarlyStopping(config.training.early_stopping_patience or 10**9)
    make_private(session.checkpoints)
    with session.ranks.first_before_others():
        remove_broken(session.checkpoints)
    if resume is None or resume.step < total:
        keep_best = bool(examples.evaluation) and keeps_best(config)
        saver = Checkpointer(session.run, keep_best, ranks=session.ranks)
        callbacks = [reporter, saver, early, stopper, LongerSchedule()]
        trainer = build_trainer(session, model, setup, examples, callbacks)
        trainer.kernels = fast.kernels
        if resume is None and any(session.ranks.any(trial_is_due(setup, config, facts, examples.longest))):
            _try_longest(session, trainer, examples, setup)
        session.phase("training", f"step {resume.step if resume else 0} of {total}")
        draw_apart(session.ranks, config)
        trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
    last = newest_valid(session.checkpoints)
    if last is None:
        raise StoppedEarly
    return Fitted(
        checkpoint=last,
        setup=setup,
        total_steps=total,
        stopped=stopper.stopped,
        early=early.stopped,
        seconds=time.monotonic() - begin_s,
        tokens_per_second=reporter.tokens_per_second,
        peak_memory_gib=memory_peak_gib(setup.device),
    )


def _begin_with_parent(session: Session, model: PeftModel, files: ModelFiles) -> None:
    """Why not for a resumed run: its checkpoint holds what the parent became."""
    record = session.record["parent"]
    check_parent(read_parent(session.ws, record["name"]), session.config, files)
    load_parent(model, session.ws, record)
    session.notice(f"Begins with what {record['name']} has learned.")


def _try_longest(session: Session, trainer: LabelTrainer, examples: Examples, setup: Setup) -> None:
    session.phase("preparing", "trying one step on the longest rows")
    tried = try_longest(trainer, examples.train, setup)
    session.tell(
        "trial",
        tokens=tried.tokens,
        seconds=round(tried.seconds, 2),
        peak_memory_gib=round(tried.peak_memory_gib, 3),
    )


def _announce_plan(
    session: Session, setup: Setup, adapter: AdapterFacts, examples: Examples, total: int
) -> None:
    warmup = plan_warmup(session.config, total)
    if warmup.notice:
        session.notice(warmup.notice)
    session.tell(
        "plan",
        processes=session.ranks.world,
        total_steps=total,
        rows_train=len(examples.train),
        rows_eval=len(examples.evaluation),
        truncated=examples.truncated,
        left_out=examples.left_out,
        trainable_parameters=adapter.trainable,
        total_parameters=adapter.total,
        parameters_held=adapter.held,
        modules=list(adapter.modules),
        device=setup.device,
        precision=setup.precision,
        attention=setup.attention,
        unpadded=setup.flat,
        compiled=setup.compiled,
        threads=setup.threads,
        micro_batch=setup.micro_batch,
        accumulation=setup.accumulation,
        warmup_steps=warmup.steps,
    )
