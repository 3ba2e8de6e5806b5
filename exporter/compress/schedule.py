"""How sparsity grows over training."""

from __future__ import annotations


def cubic(progress: float, final: float, initial: float = 0.0) -> float:
    """Sparsity at `progress` in [0, 1]: fast at first, slow at the end.

    s(t) = s_f + (s_i - s_f) * (1 - t)^3 (Zhu and Gupta, arXiv:1710.01878, equation 1).
    """
    progress = min(max(progress, 0.0), 1.0)
    return float(final + (initial - final) * (1.0 - progress) ** 3)
