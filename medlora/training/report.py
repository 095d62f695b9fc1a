"""What a run came to: its adapter's provenance, its results in the record, its last events."""

from __future__ import annotations

from typing import Any

from medlora.config.plan import data_seed, keeps_best
from medlora.models.files import ModelFiles
from medlora.models.weight_hash import hash_model
from medlora.runs.events import append_event, fold, read_events
from medlora.runs.store import write_results
from medlora.safety import Policy, assess
from medlora.training.checkpoints import Checkpoint, keep_newest, problem_of
from medlora.training.examples import Examples
from medlora.training.publish import Publication, publish_adapter
from medlora.training.session import Fitted, Session


def finish(session: Session, files: ModelFiles, examples: Examples, fitted: Fitted) -> None:
    """Publish the adapter and write the run's end."""
    append_event(session.run, "phase", name="publishing", detail="writing the adapter")
    chosen = choose_checkpoint(session, fitted)
    metrics = read_metrics(fitted, chosen)
    status = f"stopped at step {chosen.step}" if fitted.stopped else "completed"
    facts = collect_facts(session, files, examples, fitted) | {"status": status, "metrics": metrics}
    wanted = Publication(
        str(session.record["adapter_name"]), facts, earlier=fold(read_events(session.run)).adapter
    )
    adapter = publish_adapter(session.ws, session.run, chosen.path, files, wanted)
    append_event(session.run, "published", adapter=adapter, step=chosen.step)
    write_results(session.run, {"status": status, "adapter": adapter, **metrics})
    if not fitted.stopped:
        keep_newest(session.checkpoints, chosen.path)
    append_event(
        session.run,
        "ended",
        status="stopped" if fitted.stopped else "completed",
        reason=_reason(fitted, chosen),
        hint="Resume continues from here." if fitted.stopped else None,
        **metrics,
    )


def choose_checkpoint(session: Session, fitted: Fitted) -> Checkpoint:
    """The checkpoint whose weights become the adapter: the best one of a run that ended, else the last."""
    best = fitted.state.get("best_global_step")
    if fitted.stopped or not best or not keeps_best(session.config):
        return fitted.checkpoint
    path = session.checkpoints / f"checkpoint-{best}"
    return Checkpoint(best, path) if problem_of(path) is None else fitted.checkpoint


def read_metrics(fitted: Fitted, chosen: Checkpoint) -> dict[str, Any]:
    """The figures of the run, from the Trainer's history, so that a resumed run counts all its parts.

    Units: losses in nats per label token; train_loss is the mean over all steps.
    """
    history = fitted.state["log_history"]
    evaluations = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    before = [step for step in evaluations if step <= chosen.step]
    return {
        "steps": fitted.checkpoint.step,
        "total_steps": fitted.total_steps,
        "adapter_step": chosen.step,
        "train_loss": _mean_loss(history),
        "eval_loss": evaluations[max(before)] if before else None,
        "seconds": round(fitted.seconds, 2),
        "tokens": fitted.state.get("num_input_tokens_seen"),
        "tokens_per_second": round(fitted.tokens_per_second, 1) if fitted.tokens_per_second else None,
        "peak_memory_gib": round(fitted.peak_memory_gib, 3),
    }


def _mean_loss(history: list[dict[str, Any]]) -> float | None:
    """Each logged loss is the mean since the one before it, so it counts for that many steps."""
    total, last = 0.0, 0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - last)
            last = entry["step"]
    return round(total / last, 6) if last else None


def collect_facts(session: Session, files: ModelFiles, examples: Examples, fitted: Fitted) -> dict[str, Any]:
    """Where an adapter comes from; enough to make it again."""
    record, config = session.record, session.config
    policy = Policy.from_settings(config.safety.model_dump())
    return {
        "run_id": session.run.run_id,
        "base_model": {
            "name": files.name,
            "revision": files.revision,
            "weight_hash": hash_model(files),
        },
        "dataset": {
            "name": record["dataset"].get("name") or "dataset",
            "sha256": examples.sha256,
            "rows": examples.rows,
            "rows_train": len(examples.train),
            "rows_eval": len(examples.evaluation),
            "truncated": examples.truncated,
            "left_out": examples.left_out,
            "phi": record["dataset"].get("phi"),
        },
        "parent": record.get("parent"),
        "config": record["config"],
        "origins": record.get("origins", {}),
        "seeds": {"seed": config.training.seed, "data_seed": data_seed(config)},
        "setup": {
            "device": fitted.setup.device,
            "precision": fitted.setup.precision,
            "threads": fitted.setup.threads,
            "micro_batch": fitted.setup.micro_batch,
            "accumulation": fitted.setup.accumulation,
            "unpadded": fitted.setup.flat,
        },
        "packages": record.get("packages", {}),
        "python": record.get("python"),
        "platform": record.get("platform"),
        "git_hash": record.get("git_hash"),
        "safety_catalogue": assess([{"role": "user", "content": "hello"}], policy).catalogue_version,
    }


def _reason(fitted: Fitted, chosen: Checkpoint) -> str | None:
    if fitted.stopped:
        return f"Stopped at step {chosen.step} of {fitted.total_steps}; the adapter was kept"
    if fitted.early:
        return f"Ended early at step {fitted.checkpoint.step}: the evaluation loss no longer got better"
    return None
