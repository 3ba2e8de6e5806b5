"""Mixed precision: layers that stay float, by name or by what they gain."""

from __future__ import annotations

from collections import Counter

import networks
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from exporter.errors import CanonicalError, RecipeError
from exporter.graph import integer
from exporter.graph.canonical import check, violations
from exporter.graph.islands import float_layers
from exporter.graph.read import FLOAT_LAYERS, read_file
from exporter.layers import optimized_model
from exporter.ort import qoperator
from exporter.quantize.quantize import Calibration, folded, prepare_module
from exporter.recipe import export_recipe
from exporter.tflite.reader import read_tflite
from exporter.verify import scales, structure

FRAMES = networks.frames(24, seed=5).numpy()


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 1, 1)
        self.bn = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, 2, 1, groups=12)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.wide(torch.relu(self.stem(x)))))
        return self.fc(nn.functional.relu6(self.depthwise(x)).mean((2, 3)))


def network() -> nn.Module:
    """One layer's weights have outliers: rounding them costs most."""
    torch.manual_seed(2)
    module = Chain().eval()
    with torch.no_grad():
        module.wide.weight[:, 0, 0, 0] *= 60.0
    return module


CHOICES = {"dense": ("fc",), "three in a row": ("stem", "wide", "depthwise")}


@pytest.fixture(scope="module", params=CHOICES.values(), ids=CHOICES)
def mixed(request, tmp_path_factory):
    calibration = Calibration(float_layers=request.param)
    folder = tmp_path_factory.mktemp("mixed")
    return request.param, networks.make(network(), folder, calibration=calibration)


def test_the_weights_are_the_networks_own_in_both_files(mixed):
    names, made = mixed
    real = folded(network(), networks.SPEC)
    held = {tensor.name: tensor.data for tensor in read_tflite(made.tflite).tensors}
    shipped = read_file(made.onnx)
    for name in names:
        if name == "stem":  # what frames mean is folded into it
            assert held["stem.weight"].dtype == np.float32
            continue
        weight = real.get_parameter(f"{name}.weight").detach().numpy()
        np.testing.assert_array_equal(shipped.tensors[f"{name}.weight"].data, weight)
        order = (1, 2, 3, 0) if name == "depthwise" else (0, 2, 3, 1)[: weight.ndim]
        flat = weight.transpose(order if weight.ndim == 4 else (0, 1))
        np.testing.assert_array_equal(held[f"{name}.weight"], flat)


def test_no_runtime_makes_them_integers_by_itself(mixed):
    names, made = mixed
    counts = Counter(node.op_type for node in optimized_model(made.onnx).graph.node)
    floats = {"Conv", "FusedConv", "Gemm", "FusedGemm"}
    assert sum(counts[kind] for kind in floats) == len(names)
    assert counts["QLinearConv"] + counts["QGemm"] == 4 - len(names)


def test_a_value_between_two_of_them_stays_float(mixed):
    names, made = mixed
    codes = [operator.code for operator in read_tflite(made.tflite).operators]
    runs = 1  # all choices are runs of neighbours
    entrance = 1  # uint8 to int8
    assert codes.count("QUANTIZE") == runs + entrance
    assert codes.count("DEQUANTIZE") == runs
    assert len(float_layers(made.graph)) == len(names)


def test_both_runtimes_and_the_reference_agree_but_for_sums_in_float(mixed):
    _, made = mixed
    from_tflite = networks.run_tflite(made.tflite, FRAMES).astype(int)
    from_onnx = networks.run_onnx(made.onnx, FRAMES).astype(int) - 128
    reference = integer.run(made.graph, [FRAMES])[made.graph.outputs[0]].astype(int)
    for found in (from_tflite, from_onnx):
        assert np.abs(found - reference).max() <= 1
        assert np.mean(found != reference) < 0.02


def test_the_certificates_checks_know_them(mixed):
    names, made = mixed
    graph = read_file(made.qdq)
    assert not violations(graph)
    file = read_tflite(made.tflite)
    floats = structure.no_float_tensors(graph, file)
    assert floats.passed
    assert f"{len(names)} of these layers left float on request" in floats.detail
    assert structure.integer_kernels(graph, made.onnx).passed
    assert structure.pair_rule(graph).passed
    assert structure.requantization_ratios(graph).passed
    assert scales.compare_tflite(graph, file).passed
    assert scales.compare_onnx(graph, read_file(made.onnx), ".onnx").passed


def test_integer_operators_leave_them_as_well(mixed, tmp_path):
    names, made = mixed
    ir.save(qoperator.lower(ir.load(made.qdq)), tmp_path / "q.onnx")
    kinds = [node.op_type for node in ir.load(tmp_path / "q.onnx").graph]
    assert sum(kind in ("Conv", "Gemm") for kind in kinds) == len(names)
    from_onnx = networks.run_onnx(tmp_path / "q.onnx", FRAMES)
    np.testing.assert_array_equal(from_onnx, networks.run_onnx(made.onnx, FRAMES))


def test_a_float_weight_that_is_not_named_is_a_violation(mixed, tmp_path):
    names, made = mixed
    model = ir.load(made.qdq)
    del model.metadata_props[FLOAT_LAYERS]
    ir.save(model, tmp_path / "unnamed.onnx")
    with pytest.raises(CanonicalError, match="is not a quantized int8 constant") as caught:
        check(read_file(tmp_path / "unnamed.onnx"))
    assert str(caught.value).count("is not a quantized int8 constant") == len(names)


def test_a_named_layer_that_is_not_there_is_a_violation(made):
    graph = read_file(made.qdq)
    graph.float_layers = frozenset({"gone.weight"})
    assert violations(graph) == ["the layer of 'gone.weight', which is to stay float, is not there"]


def error_db(calibration: Calibration) -> float:
    module = network()
    given = networks.frames(32)
    prepared = prepare_module(module, networks.SPEC, [given], calibration=calibration)
    frames = networks.frames(64, seed=9)
    with torch.no_grad():
        real = module(networks.SPEC.to_model(frames))
        found = prepared.graph_module(networks.SPEC.to_graph(frames))
    return float(10 * torch.log10(real.square().sum() / (found - real).square().sum()))


def test_the_layer_that_costs_most_is_found_and_gains():
    prepared = prepare_module(
        network(),
        networks.SPEC,
        [networks.frames(32)],
        calibration=Calibration(float_layers="auto:1"),
    )
    assert prepared.plan.float_weights == {"wide.weight"}
    assert prepared.notes == ("float_layers = auto:1 took wide",)
    assert error_db(Calibration(float_layers="auto:1")) > error_db(Calibration()) + 3.0


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("mse", equalize=True, rounding=True, biases=True, float_layers=("wide",)),
        Calibration("best", float_layers=("wide",)),
    ],
    ids=["all", "best"],
)
def test_what_else_calibration_does_leaves_them_float(calibration):
    module, spec = network(), networks.SPEC
    prepared = prepare_module(module, spec, [networks.frames(8)], calibration=calibration)
    names = [name for name, _ in prepared.graph_module.named_modules() if name.endswith("_grid")]
    assert names == ["stem_weight_grid", "depthwise_weight_grid", "fc_weight_grid"]


def test_a_name_that_is_no_layer_is_refused_with_the_nearest():
    calibration = Calibration(float_layers=("depthwse",))
    with pytest.raises(RecipeError) as caught:
        prepare_module(network(), networks.SPEC, [networks.frames(4)], calibration=calibration)
    assert "float_layers names 'depthwse', which is no layer" in str(caught.value)
    assert "such as depthwise" in str(caught.value)


@pytest.mark.parametrize("wish", ["auto", "auto:0", "stem"])
def test_another_text_is_refused(wish):
    with pytest.raises(RecipeError, match=r"float_layers.*auto:N"):
        export_recipe(
            {"factory": "a:b"},
            {"shape": "1x3x8x8", "mean": "", "std": ""},
            {"calibration": "a:b"},
            "net",
            {"float_layers": wish},
        )
