"""exporter/quantize/rewrites/resizing.py: a size as a factor, for every pair of sizes."""

from __future__ import annotations

import numpy as np

from exporter.quantize.rewrites.resizing import _factor

SIZES = range(2, 129)


def test_a_factor_gives_the_size_in_single_and_in_double_precision():
    for have in SIZES:
        for want in SIZES:
            factor = _factor(have, want)
            assert factor == np.float32(factor)
            assert int(factor * have) == want
            assert int(np.float32(factor) * np.float32(have)) == want
