from __future__ import annotations

import outliers
import pytest
import torch
from torch import nn

from exporter.inputs import InputSpec
from exporter.quantize.adaround import descend, patches, quadratic_error
from exporter.quantize.bias_correction import correct_bias, correct_biases, mean_error
from exporter.quantize.equalize import equalize
from exporter.quantize.lockstep import Layer, Run, decibels, layers, outputs, twin_of
from exporter.quantize.plan import assign, make_plan
from exporter.quantize.qat import ActivationQuantizer, GridWeight, prepare
from exporter.quantize.quantize import Calibration, prepare_module
from exporter.quantize.ranges import measure_ranges
from exporter.quantize.refine import refine
from exporter.quantize.scheme import ActivationScale, largest_pair, to_grid, weight_scale
from exporter.quantize.sensitivity import layer_errors

FITTING = list(outliers.inputs(48, 1).split(16))
JUDGING = [outliers.inputs(64, 9)]


def prepared(module: nn.Module, *, exact: bool = True):
    """(float twin, quantized graph) of a network, with min/max ranges."""
    graph_module = outliers.graph(module)
    plan = make_plan(graph_module)
    assign(graph_module, plan, measure_ranges(graph_module, plan, FITTING), exact=exact)
    real = twin_of(graph_module)
    return real, prepare(graph_module, plan, {})


def error_db(real, quantized) -> float:
    return decibels(outputs(real, JUDGING), outputs(quantized, JUDGING))


# Cross-layer equalization


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)], ids=["relu", "leaky"])
@pytest.mark.parametrize("strength", [0.5, 0.75, 1.0])
def test_equalization_is_exact_in_real_numbers(activation, strength):
    graph_module = outliers.graph(outliers.network(activation)).double()
    x = 3.0 * outliers.inputs(64, 5).double()  # wider than what calibration saw
    with torch.no_grad():
        before = graph_module(x)
        changed = equalize(graph_module, [b.double() for b in FITTING], strength=strength)
        after = graph_module(x)
    assert changed
    assert torch.allclose(before, after, rtol=1e-9, atol=1e-12)


def test_a_residual_trunk_is_scaled_as_a_whole():
    graph_module = outliers.graph(outliers.network())
    weights = {name: p.detach().clone() for name, p in graph_module.named_parameters()}
    changed = equalize(graph_module, FITTING)
    after = {name: p.detach() for name, p in graph_module.named_parameters()}
    ratio = {name: after[name] / weights[name] for name in weights if name.endswith("weight")}
    # Rows and columns of a layer are scaled apart: what one row or column shares cancels out.
    stem = ratio["stem.weight"][:, 0, 0, 0]
    project = ratio["project.weight"][:, 0, 0, 0]
    expand, head = (1.0 / ratio[f"{name}.weight"][0, :, 0, 0] for name in ("expand", "head"))
    assert {"stem.weight", "project.weight"} <= set(changed)
    assert float(stem.max() / stem.min()) > 3.0
    for other in (project, expand, head):
        assert torch.allclose(other / other[0], stem / stem[0], rtol=1e-4)


def test_relu6_is_exact_where_calibration_went_and_keeps_channels_at_the_cap():
    module = outliers.network(nn.ReLU6())
    with torch.no_grad():
        module.expand.bias[3] = 9.0  # a channel that reaches the cap
    graph_module = outliers.graph(module)
    weight = module.depthwise.weight.detach().clone()
    with torch.no_grad():
        before = graph_module(FITTING[0])
        assert equalize(graph_module, FITTING)
        after = graph_module(FITTING[0])
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-5)
    rows = dict(graph_module.named_parameters())["depthwise.weight"].detach() / weight
    assert float(rows.flatten(1).std(1).max()) < 1e-4 * float(rows.abs().max())
    assert float(rows[:, 0, 0, 0].max() / rows[:, 0, 0, 0].min()) > 2.0


def test_channels_get_ranges_alike_and_the_error_smaller():
    plain, equal = outliers.graph(outliers.network()), outliers.graph(outliers.network())
    equalize(equal, FITTING)
    found = []
    for graph_module in (plain, equal):
        real = twin_of(graph_module)
        plan = make_plan(graph_module)
        assign(graph_module, plan, measure_ranges(graph_module, plan, FITTING))
        found.append(error_db(real, prepare(graph_module, plan, {})))
    assert found[1] > found[0] + 3.0


def test_weights_trained_on_a_grid_are_not_scaled():
    graph_module = outliers.graph(outliers.network())
    names = [name for name, _ in graph_module.named_parameters() if name.endswith("weight")]
    assert equalize(graph_module, FITTING, dict.fromkeys(names)) == {}


# Bias correction


def test_bias_correction_takes_the_mean_error_of_every_layer():
    real, quantized = prepared(outliers.network())
    before = {x.node.name: mean_error(real, quantized, x) for x in layers(real, quantized, FITTING)}
    refine(real, quantized, FITTING)
    after = {x.node.name: mean_error(real, quantized, x) for x in layers(real, quantized, FITTING)}
    assert before.keys() == after.keys()
    assert len(before) == 6
    for name, error in after.items():
        assert float(error.abs().max()) < 1e-4 * (1.0 + float(before[name].abs().max())), name
    assert sum(float(error.abs().mean()) for error in before.values()) > 0.01


def test_bias_correction_gives_a_layer_without_a_bias_one_of_its_own():
    real, quantized = prepared(outliers.network())
    refine(real, quantized, FITTING)
    names = [name for name, _ in quantized.named_parameters() if "conv2d_3" in name]
    assert names == ["conv2d_3_bias"]
    node = next(n for n in quantized.graph.nodes if n.name == "conv2d_3")
    assert node.args[2].target == "conv2d_3_bias"


def test_bias_correction_holds_for_inputs_that_it_never_saw():
    real, quantized = prepared(outliers.network())
    (expected,) = outputs(real, JUDGING)
    before = (outputs(quantized, JUDGING)[0] - expected).mean(0).abs().mean()
    refine(real, quantized, FITTING)
    after = (outputs(quantized, JUDGING)[0] - expected).mean(0).abs().mean()
    assert float(after) < 0.5 * float(before)


@pytest.mark.parametrize(("count", "corrected"), [(7, False), (8, True)])
def test_biases_are_corrected_from_a_number_of_samples_on_that_gains(count, corrected):
    spec, module = InputSpec((1, *outliers.SAMPLE), "float32"), outliers.network()
    found = prepare_module(
        module, spec, [outliers.inputs(count, 1)], calibration=Calibration(biases=True)
    )
    plain = prepare_module(module, spec, [outliers.inputs(count, 1)])
    same = all(
        torch.equal(value, dict(plain.graph_module.named_parameters())[name])
        for name, value in found.graph_module.named_parameters()
        if name.endswith("bias") and name in dict(plain.graph_module.named_parameters())
    )
    assert same != corrected
    if corrected:
        assert found.notes == ()
    else:
        (note,) = found.notes
        assert "7 sample(s) to measure their error on are fewer than 8" in note


# Adaptive rounding


@pytest.mark.parametrize("exact", [True, False])
def test_rounding_keeps_the_grid_and_the_pair_rule_and_lowers_each_layers_error(exact):
    real, quantized = prepared(outliers.network(), exact=exact)
    rows = refine(real, quantized, FITTING, rounding=True)
    assert [row.name for row in rows] == [
        f"conv2d{i}" for i in ("", *(f"_{n}" for n in range(1, 5)))
    ] + ["linear"]
    assert all(row.error <= 1.0 for row in rows)
    assert min(row.error for row in rows) < 0.8
    assert any(row.moved > 0 for row in rows)
    for module in quantized.modules():
        if isinstance(module, GridWeight):
            steps = module.latent.detach() / module.scale
            integers = module.grid().integers.float()
            assert torch.allclose(steps, integers, atol=1e-4)
            assert float(integers.abs().max()) <= 127
            if module.pair_rule:
                assert float(largest_pair(integers).max()) <= 128


def test_rounding_lowers_the_networks_error():
    (real, nearest), (_, rounded) = prepared(outliers.network()), prepared(outliers.network())
    refine(real, nearest, FITTING)
    refine(real, rounded, FITTING, rounding=True)
    differ = sum(
        int((a.grid().integers != b.grid().integers).sum())
        for a, b in zip(nearest.modules(), rounded.modules(), strict=True)
        if isinstance(a, GridWeight) and isinstance(b, GridWeight)
    )
    assert differ > 0
    assert error_db(real, rounded) > error_db(real, nearest) - 0.2


@pytest.mark.parametrize("seed", range(4))
def test_descent_never_raises_the_error_and_rounds_up_or_down(seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn((1, 6, 12), generator=generator)
    x = torch.randn((12, 5), generator=generator) @ torch.randn((5, 400), generator=generator)
    moments = (x @ x.t() / 400 + 1e-3 * torch.eye(12)).unsqueeze(0)
    scale = weight_scale(weight[0], pair_rule=False)
    exact = weight / scale.reshape(1, -1, 1)
    start = to_grid(weight[0], scale, pair_rule=False).unsqueeze(0)
    found = descend(exact, start, moments, None)
    before, after = (quadratic_error(q - exact, moments, scale[None]) for q in (start, found))
    assert bool((after <= before * (1 + 1e-5)).all())
    assert float(after.sum()) < 0.5 * float(before.sum())
    assert bool(((found - exact).abs() < 1.0 + 1e-5).all())


def test_pruned_weights_stay_zero():
    module = outliers.network()
    with torch.no_grad():
        module.expand.weight[:, ::2] = 0.0
    real, quantized = prepared(module)
    refine(real, quantized, FITTING, rounding=True)
    grid = quantized.get_submodule("expand_weight_grid").grid()
    assert bool((grid.integers[:, ::2] == 0).all())
    assert bool((grid.integers[:, 1::2] != 0).any())


def test_weights_trained_on_a_grid_are_not_rounded_anew():
    real, quantized = prepared(outliers.network())
    trained = {n: None for n, _ in real.named_parameters() if n.endswith("weight")}
    assert refine(real, quantized, FITTING, rounding=True, trained=trained) == []


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [([1, 1], [0, 0], [1, 1], 1), ([2, 1], [1, 2], [1, 1], 1), ([1, 1], [2, 2], [2, 2], 4)],
)
def test_patches_times_weights_are_the_convolution(stride, padding, dilation, groups):
    x = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(8, 4 // groups, 3, 3, generator=torch.Generator().manual_seed(2))
    target = torch.ops.aten.conv2d.default
    node = torch.fx.Graph().call_function(
        target, (None, None, None, stride, padding, dilation, groups)
    )
    columns = patches(node, x, weight, 10**9)
    found = weight.reshape(groups, 8 // groups, -1) @ columns
    expected = target(x, weight, None, stride, padding, dilation, groups)
    assert torch.allclose(
        found.reshape(8, -1), expected.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-4
    )


# Where error enters


def test_layer_errors_tell_what_enters_from_what_arrives():
    real, quantized = prepared(outliers.network())
    module = quantized.get_submodule("project_weight_grid")
    with torch.no_grad():
        module.latent.mul_(0.7)  # one bad layer
    rows = layer_errors(real, quantized, JUDGING)
    by_name = {row.name: row for row in rows}
    assert rows[0].name == "conv2d_3"
    assert rows[0].isolated_db < 15
    assert sorted(row.isolated_db for row in rows) == [row.isolated_db for row in rows]
    assert by_name["relu_2"].layer == "conv2d_4"
    assert by_name["add"].isolated_db > 30 > by_name["add"].accumulated_db
    assert by_name["linear"].accumulated_db == pytest.approx(
        decibels(outputs(real, JUDGING), outputs(quantized, JUDGING)), abs=1e-3
    )


def test_the_walk_sees_what_the_networks_see():
    real, quantized = prepared(outliers.network())
    seen = {layer.node.name: layer for layer in layers(real, quantized, FITTING)}
    last = seen["linear"]
    assert isinstance(last, Layer)
    with torch.no_grad():
        for index, batch in enumerate(FITTING):
            weight, bias = real.get_parameter("fc.weight"), real.get_parameter("fc.bias")
            found = nn.functional.linear(last.real[index], weight, bias)
            assert torch.allclose(found, outputs(real, [batch])[0], rtol=1e-5, atol=1e-6)


# Memory


def test_correcting_biases_alone_gives_what_the_walk_over_both_graphs_gives():
    real, quantized = prepared(outliers.network())
    walked = twin_of(quantized)
    correct_biases(real, quantized, FITTING)
    for layer in layers(real, walked, FITTING):
        correct_bias(real, walked, layer)
    expected = dict(walked.named_parameters())
    biases = {n: p for n, p in quantized.named_parameters() if n.endswith("bias")}
    assert len(biases) == 6
    for name, value in biases.items():
        # Sums in another order may take a value near a tie to the next step, one of thousands.
        assert torch.allclose(value, expected[name], rtol=0.0, atol=1e-4), name
    differ = outputs(quantized, JUDGING)[0] != outputs(walked, JUDGING)[0]
    assert float(differ.float().mean()) < 0.05
    assert error_db(real, quantized) > error_db(real, prepared(outliers.network())[1])


def test_values_that_are_kept_for_a_later_layer_are_the_same_floats():
    _, quantized = prepared(outliers.network())
    run = Run(quantized, JUDGING)
    kept = set()
    with torch.no_grad():
        whole = quantized(JUDGING[0])
        while run.to_next_layer() is not None:
            kept |= {type(value).__name__ for values in run.values for value in values.values()}
    assert torch.equal(run.to_end()[0][0], whole)
    assert "_Packed" in kept


@pytest.mark.parametrize("zero_point", [-128, 0, 5])
def test_rounding_without_gradients_gives_the_same_floats(zero_point):
    quantizer = ActivationQuantizer(ActivationScale(0.037, zero_point))
    x = 8.0 * torch.randn(1000, generator=torch.Generator().manual_seed(zero_point))
    before = x.clone()
    with torch.no_grad():
        found = quantizer(x)
    assert torch.equal(found, quantizer(x))
    assert torch.equal(x, before)
