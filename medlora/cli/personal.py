"""Personal data in what is imported: the two flags of every import, and the word on what still waits."""

from __future__ import annotations

from typing import Annotated

import typer

from medlora.dataset.store import DatasetCard, PhiChoice
from medlora.errors import UserError

RedactFlag = Annotated[bool, typer.Option("--redact", help="Replace what may be personal data.")]
RightsFlag = Annotated[
    bool, typer.Option("--i-have-the-right", help="I have the right to use the personal data in it.")
]


def decide(redact: bool, have_rights: bool) -> PhiChoice | None:
    """What the flags say of the findings; None: nothing is decided yet.

    Raises: UserError if both are given.
    """
    if redact and have_rights:
        raise UserError("--redact, --i-have-the-right: they exclude each other; give one of them")
    return "redact" if redact else "rights" if have_rights else None


def tell_undecided(card: DatasetCard) -> None:
    """One line if training waits for that decision."""
    if not card.phi_settled:
        print(
            f"{card.phi_rows} rows may hold personal data. Training waits until you decide: on the Data tab, "
            "or by importing the file again with --redact or --i-have-the-right."
        )
