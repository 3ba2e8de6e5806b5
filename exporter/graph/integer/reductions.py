"""Pooling, means, sums, extremes and positions over axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exporter.graph.integer.executor import Operands, executes
from exporter.graph.model import Array
from exporter.graph.windows import windows_of


@executes("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
def reduction(operands: Operands) -> Array:
    """A reduction over constant axes."""
    x = operands.real(0)
    axes = tuple(operands.constant(1, "axes", list(range(x.ndim))))
    keep = bool(operands.operator.attributes.get("keepdims", 1))
    functions: dict[str, Callable[..., Array]] = {
        "ReduceMax": np.max,
        "ReduceMean": np.mean,
        "ReduceMin": np.min,
        "ReduceSum": np.sum,
    }
    return operands.quantized(functions[operands.operator.kind](x, axis=axes, keepdims=keep))


@executes("GlobalAveragePool")
def global_mean(operands: Operands) -> Array:
    """The mean over height and width."""
    return operands.quantized(operands.real(0).mean((2, 3), keepdims=True))


@executes("AveragePool", "MaxPool")
def pool(operands: Operands) -> Array:
    """The largest, or the mean, of each window; padding counts to a mean where it is asked for."""
    x, operator = operands.real(0), operands.operator
    rows, columns = windows_of(operator, x.shape, operands.result.shape)
    margins = ((0, 0), (0, 0), (rows.before, rows.after), (columns.before, columns.after))
    maximum = operator.kind == "MaxPool"
    padded = np.pad(x, margins, constant_values=-np.inf if maximum else 0.0)
    views = np.lib.stride_tricks.sliding_window_view(padded, (rows.kernel, columns.kernel), (2, 3))
    windows = views[:, :, :: rows.stride, :: columns.stride]
    if maximum:
        return operands.quantized(windows.max(axis=(-2, -1)))
    means = windows.mean(axis=(-2, -1)) * np.outer(rows.shares(), columns.shares())
    return operands.quantized(means)


@executes("ArgMax", "ArgMin")
def positions(operands: Operands) -> Array:
    """The first position of the largest or smallest value."""
    function: Callable[..., Array] = np.argmax if operands.operator.kind == "ArgMax" else np.argmin
    axis = int(operands.operator.attributes.get("axis", 0))
    keep = bool(operands.operator.attributes.get("keepdims", 1))
    found: Array = function(operands.array(0), axis=axis, keepdims=keep)
    return found.astype(operands.result.dtype)


@executes("TopK")
def top_k(operands: Operands) -> tuple[Array, Array]:
    """The k largest values and their positions, the first of equals first."""
    x = operands.array(0)
    axis = int(operands.operator.attributes.get("axis", -1))
    count = operands.constant(1, "k", None)[0]
    order = np.argsort(-x.astype(np.int64), axis=axis, kind="stable")
    best = np.take(order, range(count), axis=axis)
    return np.take_along_axis(x, best, axis), best
