"""What to expect of single values of the training settings, in the order in which a form offers them."""

from __future__ import annotations

SCHEDULE_GUIDANCE = (
    ("cosine", "rises during warmup, then falls in a smooth curve: recommended"),
    ("linear", "rises during warmup, then falls in a straight line"),
    ("constant_with_warmup", "rises during warmup, then stays: for runs you may extend"),
    ("constant", "the same rate from first to last step, no warmup"),
    ("cosine_with_restarts", "cosine that starts over"),
    ("polynomial", "falls along a polynomial, by default like linear"),
    ("inverse_sqrt", "falls with the square root of the step"),
)
BATCH_GUIDANCE = (
    (1, "least memory; raise accumulation to keep the effective batch"),
    (2, "fits Phi-4-mini in 4-bit on a 6 GB GPU"),
    (4, "a good start with 8 GB or more, or with the starter model"),
    (8, "faster where memory allows"),
)
RATE_GUIDANCE = (
    ("5e-5", "careful: when training is unstable"),
    ("1e-4", "the usual start"),
    ("2e-4", "faster: small models, small ranks"),
    ("5e-4", "very fast: for the starter model only"),
)
