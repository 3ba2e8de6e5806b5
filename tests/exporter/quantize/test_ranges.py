from __future__ import annotations

import numpy as np
import outliers
import pytest
import torch
from torch import nn

from exporter.quantize.histograms import Histogram
from exporter.quantize.lockstep import outputs, twin_of
from exporter.quantize.plan import assign, make_plan
from exporter.quantize.qat import prepare
from exporter.quantize.ranges import choose_range, measure_ranges

METHODS = ["percentile", "mse", "kl"]


def long_tailed() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    body = torch.randn(400_000, generator=generator)
    return torch.cat([body, torch.tensor([60.0, -45.0])])


def squared_error(values: torch.Tensor, low: float, high: float) -> float:
    """Of int8 with this range, computed value by value."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    rounded = (torch.clamp(torch.round(values / scale) + zero, 0, 255) - zero) * scale
    return float(((rounded - values).double() ** 2).mean())


@pytest.mark.parametrize("method", METHODS)
def test_outliers_are_traded_for_finer_steps(method):
    values = long_tailed()
    histogram = Histogram()
    histogram.add(values)
    low, high = choose_range(histogram, method)
    assert -45.0 < low < -2.0
    assert 2.0 < high < 60.0
    # The mean square has the outliers' own error; narrower steps are for the other values.
    body = values[:-2]
    assert squared_error(body, low, high) < 0.3 * squared_error(body, -45.0, 60.0)


def test_mse_finds_the_range_of_the_smallest_error():
    values = long_tailed()
    histogram = Histogram()
    histogram.add(values)
    found = squared_error(values, *choose_range(histogram, "mse"))
    tried = [
        squared_error(values, -45.0 * a, 60.0 * b)
        for a in np.linspace(0.1, 1.0, 15)
        for b in np.linspace(0.1, 1.0, 15)
    ]
    assert found <= 1.02 * min(tried)


@pytest.mark.parametrize("method", ["minmax", *METHODS])
def test_zero_is_inside_and_one_sided_values_stay_so(method):
    histogram = Histogram()
    histogram.add(long_tailed().abs() + 0.5)
    low, high = choose_range(histogram, method)
    assert low == 0.0
    assert 0.0 < high <= 60.5


@pytest.mark.parametrize("method", ["minmax", *METHODS])
def test_a_value_that_is_always_zero_has_a_range(method):
    histogram = Histogram()
    histogram.add(torch.zeros(10))
    assert choose_range(histogram, method) == (0.0, 0.0)


@pytest.mark.parametrize("narrow", ["percentile", "mse"])
def test_ranges_are_narrower_and_the_networks_error_smaller(narrow):
    batches = [outliers.inputs(500, seed, outliers=True) for seed in range(2)]
    judged = outliers.inputs(64, 9)
    error, widths = {}, {}
    for method in ("minmax", narrow):
        graph_module = outliers.graph(outliers.network())
        real = twin_of(graph_module)
        plan = make_plan(graph_module)
        ranges = measure_ranges(graph_module, plan, batches, method)
        widths[method] = {name: high - low for name, (low, high) in ranges.items()}
        assign(graph_module, plan, ranges)
        prepare(graph_module, plan, {})
        (found,), (expected,) = outputs(graph_module, [judged]), outputs(real, [judged])
        error[method] = float(((found - expected) ** 2).mean())
    assert error[narrow] < 0.8 * error["minmax"]
    assert widths[narrow]["x"] < 0.6 * widths["minmax"]["x"]


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_calibration_names_the_value_that_is_not_finite(method):
    module = outliers.network()
    nn.init.constant_(module.project.weight, float("inf"))
    graph_module = outliers.graph(module)
    plan = make_plan(graph_module)
    with pytest.raises(ValueError, match="not finite, at conv2d_3"):
        measure_ranges(graph_module, plan, [outliers.inputs(2)], method)


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_calibration_needs_a_batch(method):
    graph_module = outliers.graph(outliers.network())
    with pytest.raises(ValueError, match="at least one batch"):
        measure_ranges(graph_module, make_plan(graph_module), [], method)
