"""exporter/tflite/ops/matmul.py: products of two computed matrices."""

from __future__ import annotations

import numpy as np
import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function

sizes = st.integers(1, 12)


@pytest.mark.parametrize("lead", [(), (3,)])
@given(
    n=sizes,
    k=sizes,
    m=sizes,
    odd=st.integers(255, 1023),
    numerator=st.integers(1, 8),
    points=st.tuples(*[single.zero_points] * 3),
    seed=single.seeds,
)
@single.DRAWN
def test_products_in_odd_parts_are_exact(lead, n, k, m, odd, numerator, points, seed):
    left, right = Value((1, *lead, n, k), 0.02, points[0]), Value((1, *lead, k, m), 0.03, points[1])
    step = float(np.float32(0.02)) * float(np.float32(0.03)) * (2 * odd + 1) / numerator
    case = Case.of(function("MatMul"), (left, right), Value((1, *lead, n, m), step, points[2]))
    if lead:
        # Of rank 4 an input is an image, unless something says otherwise.
        left, right, case = _heads(left, right, case)
    single.assert_exact(case, left.sample(seed), right.sample(seed + 1))
    single.assert_real(case, left.sample(seed), right.sample(seed + 1))


def _heads(left, right, case):
    """The same of inputs [1, heads * n, k], reshaped to heads first."""
    flat = [Value((1, v.shape[1] * v.shape[2], v.shape[3]), v.scale, v.zero_point)
            for v in (left, right)]  # fmt: skip

    def body(net, x, y):
        apart = [
            net.requantize(net.node("Reshape", [name, net.integers([0, *value.shape[1:]])]), value)
            for name, value in zip((x, y), (left, right), strict=True)
        ]
        result = case.outputs[0]
        product = net.requantize(net.node("MatMul", apart), result)
        rows, columns = result.shape[1] * result.shape[2], result.shape[3]
        return net.node("Reshape", [product, net.integers([0, rows, columns])])

    return *flat, Case.of(body, flat, case.outputs[0])


def test_a_product_of_images_is_refused():
    image = Value((1, 3, 4, 4), 0.05)
    message = single.refusal(Case.of(function("MatMul"), (image, image), image))
    assert "it multiplies images" in message
    assert "flatten height and width to tokens first" in message
