from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack.products import find_products
from runtimes.methods import scaled

scales = st.floats(2.0**-20, 2.0**10, width=32)


@given(vector=st.lists(scales, min_size=4, max_size=20), factor=scales)
@settings(deadline=None)
def test_a_vector_times_a_number_is_found(vector, factor):
    source = np.array(vector, np.float32)
    target = scaled(source, np.float32(factor))
    products = find_products({5: source, 9: target})
    assert products
    ((key, product),) = products.items()
    other = {5: target, 9: source}[key]
    assert {key, product.source} == {5, 9}
    assert (scaled(other, product.factor) == {5: source, 9: target}[key]).all()


def test_one_bit_less_is_no_product():
    source = np.random.default_rng(0).random(16).astype(np.float32) + 1
    target = scaled(source, np.float32(0.7))
    target[7] = np.nextafter(target[7], np.float32(9))
    assert find_products({0: source, 1: target}) == {}


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_what_has_no_ratio_is_no_product(bad):
    vector = np.array([1, 2, bad, 4], np.float32)
    assert find_products({0: vector, 1: np.arange(1, 5, dtype=np.float32)}) == {}


@pytest.mark.parametrize("factors", [(1, 0.3, 7, 2), (1, 2, 4, 8)])
def test_a_source_is_never_a_product(factors):
    """Powers of two lead both ways, so that each vector could be the source of each other."""
    base = np.random.default_rng(0).random(8).astype(np.float32) + 1
    vectors = {key: scaled(base, np.float32(factor)) for key, factor in enumerate(factors)}
    products = find_products(vectors)
    assert len(products) >= 2
    assert not {product.source for product in products.values()} & set(products)


def test_vectors_of_other_lengths_are_left_alone():
    assert find_products({0: np.ones(4, np.float32), 1: np.ones(5, np.float32)}) == {}
    assert find_products({}) == {}
