"""Scales that no kernel has, or that the runtimes round apart: `--requantize` moves them."""

from __future__ import annotations

import numpy as np
import pytest
from conversions import BOTH, X, agree, convolution, left_in_float, run
from onnx_models import Qdq, save, value
from typer.testing import CliRunner

from exporter.cli import app
from exporter.commands.convert import ROUNDED_APART
from exporter.convert import Wishes


@pytest.mark.parametrize("behind", [(), ("Flatten",), ("Identity", "Flatten")])
@pytest.mark.parametrize(
    ("operator", "scale", "point"),
    [("Softmax", 0.0037, -128), ("Sigmoid", 0.0038, -128), ("Tanh", 0.0079, 3)],
)
def test_results_whose_scale_no_kernel_has(tmp_path, operator, scale, point, behind):
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    attributes = {"axis": 1} if operator == "Softmax" else {}
    result = graph.node(operator, [c], "bounded", **attributes)
    for moving in behind:
        result = graph.node(moving, [result], moving.lower())
    graph.quantize(result, scale, point, name="y")
    kept = run(graph, tmp_path, [value("y", None)])
    agree(kept, 1)
    assert left_in_float(kept) == {"bounded"}
    moved = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=True))
    assert left_in_float(moved) == set()
    (change,) = [one for one in moved.requantized if "the scale that kernels have" in one.what]
    assert f"in place of {scale:.6g}" in change.detail
    ours = next(row for row in moved.differences if {row.one, row.other} == BOTH)
    assert round(ours.max_lsb) <= 1


@pytest.mark.parametrize("scale", [0.02, 0.0091])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"kernel_shape": [7, 7]},
    ],
    ids=["2x2", "padding left out", "padding counted", "7x7"],
)
def test_means_get_a_scale_that_both_runtimes_round_alike(tmp_path, window, scale):
    """With the source's own a sum of four is halfway between two integers every fourth time."""
    graph = Qdq()
    x = graph.quantize("x", 0.02, 5)
    graph.quantize(graph.node("AveragePool", [x], "mean", **window), scale, -7, name="y")
    kept = run(graph, tmp_path, [value("y", None)])
    moved = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=True))
    assert left_in_float(kept) == left_in_float(moved) == set()
    (change,) = [one for one in moved.requantized if "both runtimes round alike" in one.what]
    new, _, old = change.detail.partition(" in place of ")
    assert float(old) <= float(new) <= 1.01 * float(old)
    ours = [next(r for r in c.differences if {r.one, r.other} == BOTH) for c in (kept, moved)]
    assert ours[1].differing == 0
    if window["kernel_shape"] == [2, 2] and scale == 0.02:
        assert ours[0].differing > 0.1 * ours[0].values


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "GlobalAveragePool", "ReduceMean"])
def test_arithmetic_gets_scales_that_both_runtimes_round_alike(tmp_path, kind):
    """A residual block; its scales let results end halfway between two integers."""
    graph = Qdq()
    x = graph.quantize("x", 0.03125, 5)
    c = graph.quantize(convolution(graph, x, out=3), 0.0625, 3)
    if kind in ("GlobalAveragePool", "ReduceMean"):
        axes = [graph.constant("axes", np.array([2, 3]))] if kind == "ReduceMean" else []
        result = graph.node(kind, [c, *axes], "result")
    else:
        result = graph.node("Relu", [graph.node(kind, [c, x], "result")], "relu")
    scale = {"Mul": 0.0078125, "GlobalAveragePool": 0.0625, "ReduceMean": 0.0625}.get(kind, 0.125)
    graph.quantize(result, scale, -100, name="y")
    moved = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=True, samples=64))
    changed = [one for one in moved.requantized if "both runtimes round alike" in one.what]
    assert changed
    for change in changed:
        new, _, old = change.detail.partition(" in place of ")
        assert float(old) <= float(new) <= 1.02 * float(old)
    ours = next(row for row in moved.differences if {row.one, row.other} == BOTH)
    assert ours.differing == 0


@pytest.mark.parametrize("scale", [0.02, 0.0091, 0.05])
@pytest.mark.parametrize("centres", ["half_pixel", "align_corners", "asymmetric"])
def test_bilinear_values_get_a_scale_that_both_runtimes_round_alike(tmp_path, centres, scale):
    """With the source's own a sum of sixteenths is often halfway between two integers."""
    graph = Qdq()
    x = graph.quantize("x", 0.02, 5)
    sizes = graph.constant("sizes", np.float32([1, 1, 2, 2]))
    attributes = {"mode": "linear", "coordinate_transformation_mode": centres}
    graph.quantize(graph.node("Resize", [x, "", sizes], "r", **attributes), scale, -7, name="y")
    moved = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=True, samples=32))
    changed = [one for one in moved.requantized if "both runtimes round alike" in one.what]
    for change in changed:
        new, _, old = change.detail.partition(" in place of ")
        assert float(old) <= float(new) <= 1.01 * float(old)
    ours = next(row for row in moved.differences if {row.one, row.other} == BOTH)
    assert ours.differing == 0
    if scale == 0.02 and centres == "half_pixel":
        kept = run(graph, tmp_path, [value("y", None)], wishes=Wishes(samples=32))
        assert changed
        assert next(r for r in kept.differences if {r.one, r.other} == BOTH).differing > 0


def test_the_command_says_what_to_do_about_forms_that_round_apart(tmp_path):
    graph = Qdq()
    x = graph.quantize("x", 0.02, 5)
    mean = graph.node("AveragePool", [x], "mean", kernel_shape=[2, 2], strides=[2, 2])
    graph.quantize(mean, 0.02, -7, name="y")
    path = save(graph.model([value("x", X)], [value("y", None)], 20), tmp_path / "in.onnx")
    argv = ["convert", str(path), "-o", str(tmp_path / "out.tflite")]
    for options, said in (([], True), (["--requantize"], False)):
        done = CliRunner().invoke(app, [*argv, *options])
        assert done.exit_code == 0
        assert (ROUNDED_APART in done.output) == said
        assert "1 x AveragePool: both runtimes compute them alike so, but for ties" in done.output
