"""Whether a file became slower, from measurements taken in turns, and when that cannot be told.

The samples are pairs: in each round the new file and the baseline were measured one right after
the other, so that what moves both (clock, heat, other work) falls out of their ratio. What is
estimated is the typical ratio, as the trimmed mean of the logarithms of the rounds' ratios; how
sure it is comes from the bootstrap over rounds (Efron & Tibshirani, An Introduction to the
Bootstrap, 1993), with percentiles widened for few rounds (Hesterberg, What Teachers Should Know
about the Bootstrap, 2014, section 4.1: the plain ones are too narrow).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from exporter.build import Frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

__all__ = ["ERROR_RATE", "LEAST_ROUNDS", "Comparison", "Ratio", "compare", "self_test"]

ERROR_RATE: Final = 0.01
"""How often a file that is not slower than allowed may be called worse; the same the other way."""

LEAST_ROUNDS: Final = 10
"""Below this the widening above no longer holds, and nothing is decided."""

MOST_ROUNDS: Final = 1000
"""A difference that needs more rounds is too close to the limit to be told by measuring."""

_RESAMPLES: Final = 4000

# The bootstrap is approximate. With this part of the stated rate in each tail, no kind of noise in
# benchmarks/gate.py exceeds it.
_SPENT: Final = 0.7

_TRIMMED: Final = 0.25

Answer = Literal["better or equal", "worse", "inconclusive"]


class Ratio(Frozen):
    """New over baseline: the estimate, and the interval that holds the truth.

    Each of `low` and `high` is passed by the truth once in 1 / ERROR_RATE comparisons.
    """

    estimate: float
    low: float
    high: float


class Comparison(Frozen):
    """The answer.

    Attributes:
        answer: worse than allowed, not worse than allowed, or neither shown.
        ratio: of the new file's time to the baseline's.
        tolerance: how much slower was allowed, as a share.
        rounds: how many pairs there were.
        more_rounds: about how many more would decide, if the estimate stays; None where it is
            decided, or where more than MOST_ROUNDS would be needed.
        noise: the spread of one round's ratio (robust standard deviation), as a share.
    """

    answer: Answer
    ratio: Ratio
    tolerance: float
    rounds: int
    more_rounds: int | None
    noise: float


def compare(
    new_ms: Sequence[float], baseline_ms: Sequence[float], *, tolerance: float = 0.0
) -> Comparison:
    """Hold a file's times against the baseline's.

    The same samples give the same answer: the bootstrap's seed is fixed.

    Args:
        new_ms: one time a round, of the new file.
        baseline_ms: of the baseline, in the same rounds.
        tolerance: how much slower is allowed, 0.05 for 5 %.

    Raises:
        ValueError: the numbers of rounds differ, there are fewer than LEAST_ROUNDS, or a time is
            not a positive number.
    """
    logs = _log_ratios(new_ms, baseline_ms)
    return _judge(logs, tolerance)


def self_test(
    samples_ms: Sequence[float],
    *,
    rounds: int = 30,
    tolerance: float = 0.0,
    comparisons: int = 200,
    seed: int = 0,
) -> int:
    """How often one file's own times, split at random, call it worse than itself.

    Args:
        samples_ms: times of one file, at least LEAST_ROUNDS of them.
        rounds: pairs of each simulated comparison, drawn with replacement.
        tolerance: as for `compare`.
        comparisons: how many to simulate.
        seed: of the draws.

    Returns:
        The count of "worse"; at most about `comparisons * ERROR_RATE` is what is promised.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    logs = np.log(_positive(samples_ms))
    drawn = generator.choice(logs, size=(comparisons, 2, rounds))
    return sum(_judge(new - old, tolerance).answer == "worse" for new, old in drawn)


def _positive(samples_ms: Sequence[float]) -> Array:
    import numpy as np

    samples = np.asarray(samples_ms, np.float64)
    if len(samples) < LEAST_ROUNDS:
        raise ValueError(f"expected at least {LEAST_ROUNDS} rounds, found {len(samples)}")
    if not (np.isfinite(samples).all() and (samples > 0).all()):
        raise ValueError("expected times above zero, found one that is not")
    return samples


def _log_ratios(new_ms: Sequence[float], baseline_ms: Sequence[float]) -> Array:
    import numpy as np

    if len(new_ms) != len(baseline_ms):
        raise ValueError(
            f"expected as many rounds of both files, found {len(new_ms)} and {len(baseline_ms)}"
        )
    ratios: Array = np.log(_positive(new_ms)) - np.log(_positive(baseline_ms))
    return ratios


def _judge(logs: Array, tolerance: float) -> Comparison:
    estimate, low, high = _interval(logs)
    limit = math.log1p(tolerance)
    answer: Answer = "inconclusive"
    if low > limit:
        answer = "worse"
    elif high <= limit:
        answer = "better or equal"
    more = None
    if answer == "inconclusive":
        more = _more_rounds(len(logs), estimate - limit, high - estimate, estimate - low)
    return Comparison(
        answer=answer,
        ratio=Ratio(estimate=math.exp(estimate), low=math.exp(low), high=math.exp(high)),
        tolerance=tolerance,
        rounds=len(logs),
        more_rounds=more,
        noise=_spread(logs),
    )


def _interval(logs: Array) -> tuple[float, float, float]:
    """Trimmed mean of the logarithms, and the widened bootstrap percentiles around it."""
    from statistics import NormalDist

    import numpy as np

    count = len(logs)
    draws = np.random.default_rng(0).integers(count, size=(_RESAMPLES, count))
    means = _trimmed_means(logs[draws])
    tail = NormalDist().cdf(-math.sqrt(count / (count - 1)) * _t_quantile(count - 1))
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(_trimmed_means(logs[None])[0]), float(low), float(high)


def _trimmed_means(rows: Array) -> Array:
    """The mean of each row [rows, rounds] without a quarter of its values at either end."""
    import numpy as np

    cut = int(rows.shape[1] * _TRIMMED)
    means: Array = np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut].mean(axis=1)
    return means


def _t_quantile(freedom: int) -> float:
    """Student's t at the tail that is spent, by expansion (Abramowitz & Stegun, 26.7.5)."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(1 - _SPENT * ERROR_RATE)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _more_rounds(rounds: int, distance: float, above: float, below: float) -> int | None:
    """Rounds that narrow the interval until the limit lies outside: its width goes with 1/sqrt."""
    width = below if distance > 0 else above
    if distance == 0 or width == 0:
        return None
    needed = math.ceil(rounds * (width / abs(distance)) ** 2)
    more = max(1, needed - rounds)
    return more if needed <= MOST_ROUNDS else None


def _spread(logs: Array) -> float:
    """1.4826 times the median distance from the median: a normal's standard deviation."""
    import numpy as np

    return float(1.4826 * np.median(np.abs(logs - np.median(logs))))
