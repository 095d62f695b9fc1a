"""How far a mean over rows could have come out otherwise: the bootstrap over the rows, with a fixed seed.

Why: perplexity and overlap are no shares, so Wilson's interval does not fit them, and with few rows a mean
alone is believed too readily.
Source: Efron (1979); percentile intervals, 1,000 draws of the rows with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DRAWS = 1_000
_FEWEST = 3
_SEED = 0


def mean_interval(totals: Sequence[float], weights: Sequence[float] | None = None) -> list[float] | None:
    """The 95 % interval of sum(totals) / sum(weights), rows drawn anew; None for fewer than three rows.

    weights: how much each row counts, such as its tokens; 1 each without them.
    """
    tops = np.asarray(totals, dtype=np.float64)
    bottoms = np.ones_like(tops) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(tops) < _FEWEST or not np.isfinite(tops).all() or bottoms.sum() <= 0:
        return None
    return _percentiles(_draw(tops, bottoms))


def difference_interval(
    totals: Sequence[float], others: Sequence[float], weights: Sequence[float] | None = None
) -> list[float] | None:
    """The same for the difference of two speakers over the same rows, each row drawn for both at once.

    Why in pairs: most of the spread is between easy and hard rows, and that is the same for both.
    """
    return mean_interval([a - b for a, b in zip(totals, others, strict=True)], weights)


def _draw(tops: NDArray[np.float64], bottoms: NDArray[np.float64]) -> NDArray[np.float64]:
    random = np.random.default_rng(_SEED)
    means = np.empty(_DRAWS)
    for number in range(_DRAWS):
        rows = random.integers(0, len(tops), len(tops))
        means[number] = tops[rows].sum() / max(bottoms[rows].sum(), 1e-12)
    return means


def _percentiles(means: NDArray[np.float64]) -> list[float]:
    low, high = np.quantile(means, (0.025, 0.975))
    return [round(float(low), 4), round(float(high), 4)]
