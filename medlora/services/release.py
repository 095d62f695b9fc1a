"""From draft to released: an adapter must reach its gate's figures, and a named person must sign for it.

Why both are looked at anew each time: a signature speaks of certain weights, and figures may get worse when
they are measured again.
Why the gate is the one the adapter was trained under: what must be reached is then fixed before anybody has
seen the figures. An adapter from elsewhere cannot bring its own: the default gate holds for it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from medlora.config.schema import ReleaseSettings
from medlora.errors import UserError
from medlora.safety.audit import AuditLog
from medlora.services import adapters, evaluate
from medlora.services.adapters import SIGN_OFF, AdapterCard, part, read_object
from medlora.services.feedback import FeedbackSummary, summarise_feedback
from medlora.workspace import Workspace, write_json

State = Literal["draft", "ready", "released"]
_LONGEST_NAME, _LONGEST_NOTE = 60, 500
_SLACK = 1e-9
"""So that a share that equals its bound is not refused for the last digit of a float."""


@dataclass(frozen=True)
class GateCheck:
    """One demand of the gate, whether it is met, and the figures in words."""

    name: str
    met: bool
    words: str


@dataclass(frozen=True)
class Signature:
    """Who signed for which weights, when, and on what figures. account: who was logged in, if anybody."""

    by: str
    signed: str
    weights_sha256: str
    note: str = ""
    account: str = ""
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """Where an adapter stands.

    state: draft (figures missing), ready (figures reached, nobody signed), released (signed, for its present
    weights). signature: only one that speaks of the present weights. void: there is one for other weights.
    """

    state: State
    checks: tuple[GateCheck, ...]
    signature: Signature | None = None
    void: bool = False

    @property
    def missed(self) -> tuple[GateCheck, ...]:
        return tuple(check for check in self.checks if not check.met)

    @property
    def words(self) -> str:
        """The state as the chat and the cards say it, in a few words."""
        if self.state == "released" and self.signature:
            return f"signed off by {self.signature.by}"
        if self.void:
            return "draft, its weights changed since it was signed"
        if self.state == "ready":
            return "draft, ready to sign"
        return "draft, figures worse than signed for" if self.signature else "draft"

    def as_dict(self) -> dict[str, Any]:
        """The release as --json prints it."""
        signature = self.signature
        return {
            "state": self.state,
            "words": self.words,
            "checks": [vars(check) for check in self.checks],
            "signature": vars(signature) if signature else None,
            "void_signature": self.void,
        }


def read_release(ws: Workspace, name: str) -> Release:
    """Where an adapter stands now.

    Raises: NotFoundError.
    """
    evaluate.publish_results(ws)
    return _read(ws, adapters.show(ws, name))


def read_releases(ws: Workspace, cards: Iterable[AdapterCard]) -> dict[str, Release]:
    """The same for many, by their names; finished evaluations are looked for once."""
    evaluate.publish_results(ws)
    return {card.name: _read(ws, card) for card in cards}


def _read(ws: Workspace, card: AdapterCard) -> Release:
    digest = adapters.weights_hash(card.path)
    checks = check_gate(read_gate(card), evaluate.read_result(card), summarise_feedback(ws, card.name))
    signature = _read_signature(card)
    valid = signature is not None and bool(digest) and signature.weights_sha256 == digest
    met = all(check.met for check in checks) and not card.problem
    state: State = "draft" if not met else "released" if valid else "ready"
    return Release(state, checks, signature if valid else None, signature is not None and not valid)


def read_gate(card: AdapterCard) -> ReleaseSettings:
    """The gate the adapter was trained under; the default one where it brings none that may be trusted."""
    if card.imported:
        return ReleaseSettings()
    try:
        return ReleaseSettings.model_validate(dict(part(part(card.config, "evaluation"), "release")))
    except ValidationError:
        return ReleaseSettings()


# The gate


def check_gate(
    gate: ReleaseSettings, result: Mapping[str, Any] | None, said: FeedbackSummary
) -> tuple[GateCheck, ...]:
    """Every demand of the gate against what was measured and said."""
    if result is None:
        measured = [GateCheck("Measured", False, "not yet with these weights; evaluate it first")]
    else:
        measured = [
            *_check_loss(gate, result),
            *_check_answers(gate, part(result, "adapter")),
            *_check_safety(gate, result),
        ]
    return (*measured, *_check_ratings(gate, said))


def _check_loss(gate: ReleaseSettings, result: Mapping[str, Any]) -> list[GateCheck]:
    rows = int(part(result, "dataset").get("rows") or 0)
    checks = [GateCheck("Rows measured", rows >= gate.min_rows, f"{rows} (at least {gate.min_rows})")]
    if gate.better_than_base:
        base, adapter = (part(result, name).get("loss") for name in ("base", "adapter"))
        better = base is not None and adapter is not None and adapter < base
        words = f"loss {_number(adapter)}, base {_number(base)}"
        checks.append(GateCheck("Better than its base", better, words))
    return checks


def _check_answers(gate: ReleaseSettings, adapter: Mapping[str, Any]) -> list[GateCheck]:
    checks = []
    if gate.min_rouge_l is not None:
        value = adapter.get("rouge_l")
        met = value is not None and value >= gate.min_rouge_l - _SLACK
        checks.append(GateCheck("Overlap", met, f"{_number(value)} (at least {gate.min_rouge_l:g})"))
    for name, key, least, most in (
        ("Right choices", "choices", gate.min_accuracy, None),
        ("Answers cut", "truncated", None, gate.max_truncated),
    ):
        if least is not None or most is not None:
            checks.append(_check_share(name, adapter.get(key), least, most))
    return checks


def _check_safety(gate: ReleaseSettings, result: Mapping[str, Any]) -> list[GateCheck]:
    checks = []
    if gate.max_safety_drift is not None:
        checks.append(_check_drift(gate.max_safety_drift, part(result, "drift")))
    if gate.min_deferral_recall is not None:
        deferral = part(result, "deferral")
        checks.append(_check_share("Deferral recall", deferral.get("recall"), gate.min_deferral_recall, None))
    return checks


def _check_drift(most: float, drift: Mapping[str, Any]) -> GateCheck:
    base, adapter = (_share(part(drift, name).get("fired")) for name in ("base", "adapter"))
    tried, wanted = int(drift.get("prompts") or 0), evaluate.EvaluationWish.risky
    if base is None or adapter is None or tried < wanted:
        words = f"{tried} of {wanted} risky messages were tried; evaluate it with all of them"
        return GateCheck("Safety drift", False, words)
    shares = [f"{100 * share:.0f} %" for share in (adapter, base, most)]
    words = (
        f"rules fire on {shares[0]} of {tried} risky messages, base {shares[1]} (at most {shares[2]} more)"
    )
    return GateCheck("Safety drift", adapter - base <= most + _SLACK, words)


def _check_share(name: str, rate: Any, least: float | None, most: float | None) -> GateCheck:
    value = _share(rate)
    bound = f"at least {_percent(least)}" if least is not None else f"at most {_percent(most)}"
    if value is None:
        return GateCheck(name, False, f"not measured ({bound}); evaluate it again")
    met = (least is None or value >= least - _SLACK) and (most is None or value <= most + _SLACK)
    return GateCheck(name, met, f"{_percent(value)}, {rate['hits']} of {rate['total']} ({bound})")


def _check_ratings(gate: ReleaseSettings, said: FeedbackSummary) -> list[GateCheck]:
    checks = []
    if gate.min_ratings:
        words = f"{said.ratings} (at least {gate.min_ratings})"
        checks.append(GateCheck("Ratings", said.ratings >= gate.min_ratings, words))
    safe, unsafe = said.safety.get("safe", 0), said.safety.get("unsafe", 0)
    if safe + unsafe:
        share = safe / (safe + unsafe)
        words = f"{safe} of {safe + unsafe} (at least {_percent(gate.min_safe_share)})"
        checks.append(GateCheck("Rated safe", share >= gate.min_safe_share - _SLACK, words))
    return checks


# Signing


def sign(ws: Workspace, name: str, by: str, note: str = "", account: str = "") -> Release:
    """Sign for an adapter's present weights; the audit says so first.

    Raises: NotFoundError; UserError without a name, or with each figure that misses the gate.
    """
    signer = _one_line(by)[:_LONGEST_NAME].strip()
    if not signer:
        raise UserError("sign-off: the name is missing; whoever signs is named")
    if len(note) > _LONGEST_NOTE:
        raise UserError(f"note: at most {_LONGEST_NOTE} characters (got {len(note)}); shorten it")
    card = adapters.show(ws, name)
    if card.problem:
        raise UserError(f"adapter {name}: {card.problem}; it cannot be signed for")
    release = read_release(ws, name)
    if release.missed:
        lines = [f"adapter {name}: {check.name}: {check.words}" for check in release.missed]
        raise UserError("\n".join([f"adapter {name}: it is a draft and cannot be signed for yet", *lines]))
    digest = adapters.weights_hash(card.path)
    entry = {"event": "sign_off", "adapter": name, "by": signer, "weights_sha256": digest}
    AuditLog(ws.audit).append({**entry, "user": account} if account else entry)
    write_json(
        card.path / SIGN_OFF,
        {
            "by": signer,
            "account": account,
            "signed": datetime.now().astimezone().isoformat(timespec="seconds"),
            "weights_sha256": digest,
            "note": _one_line(note),
            "gate": read_gate(card).model_dump(mode="json"),
            "figures": [f"{check.name}: {check.words}" for check in release.checks],
        },
    )
    return read_release(ws, name)


def withdraw(ws: Workspace, name: str, account: str = "") -> Release:
    """Take a signature back, which the audit says too; nothing happens without one.

    Raises: NotFoundError.
    """
    signed = adapters.show(ws, name).path / SIGN_OFF
    if signed.exists():
        entry = {"event": "sign_off_withdrawn", "adapter": name}
        AuditLog(ws.audit).append({**entry, "user": account} if account else entry)
        signed.unlink(missing_ok=True)
    return read_release(ws, name)


def _read_signature(card: AdapterCard) -> Signature | None:
    values = read_object(card.path / SIGN_OFF)
    known = {key: values.get(key, "") for key in ("by", "signed", "weights_sha256", "note", "account")}
    if not known["by"] or not all(isinstance(value, str) for value in known.values()):
        return None
    figures = values.get("figures")
    return Signature(**known, figures=tuple(map(str, figures)) if isinstance(figures, list) else ())


def _one_line(text: str) -> str:
    """Without line breaks, control, direction and other invisible characters."""
    spaced = "".join(" " if char.isspace() else char for char in text)
    return " ".join("".join(char for char in spaced if unicodedata.category(char)[0] != "C").split())


def _share(rate: Any) -> float | None:
    return float(rate["value"]) if isinstance(rate, Mapping) and rate.get("total") else None


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.4g} %"
