"""int16 activations with int8 weights: the plan, the canonical graph, whole networks as files."""

from __future__ import annotations

import networks
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from exporter.graph import integer
from exporter.graph.canonical import violations
from exporter.graph.passes.frame_input import frame_input
from exporter.graph.passes.wide_opset import OPSET, wide_opset
from exporter.graph.read import read_file
from exporter.inputs import InputSpec
from exporter.quantize.plan import assign, make_plan
from exporter.quantize.quantize import Calibration, folded, prepare_module
from exporter.quantize.ranges import measure_ranges
from exporter.quantize.scheme import ActivationScale
from exporter.tflite.reader import read_tflite
from exporter.verify import scales

WIDE = Calibration(activations="int16")
FRAMES = networks.frames(24, seed=5).numpy()
WHOLE_NETWORK = 4
"""Steps of int16 that the outputs of `networks.Residual` are apart at most."""


class Activated(nn.Module):
    """Functions with scales of their own, a clip that no kernel fuses, a join of both, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.narrow, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.hardswish(self.stem(x))
        x = nn.functional.hardtanh(self.wide(x), 0.0, 0.4) * torch.sigmoid(self.narrow(x))
        x = torch.cat([x, torch.tanh(x)], 1)
        return self.fc(x.mean((2, 3))).softmax(1)


def network() -> nn.Module:
    torch.manual_seed(4)
    return Activated().eval()


NETWORKS = {"residual": networks.network, "activated": network}


@pytest.fixture(scope="module", params=NETWORKS)
def wide(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    return networks.make(NETWORKS[request.param](), folder, calibration=WIDE)


def test_all_values_are_int16_around_zero_and_all_weights_int8(wide):
    graph = read_file(wide.qdq)
    assert violations(graph) == []
    for tensor in graph.tensors.values():
        if tensor.data is None and tensor.name not in graph.inputs and tensor.quantization:
            assert (tensor.dtype, tensor.quantization.zero_point) == (np.int16, 0)
    weights = [graph.tensors[o.inputs[1]] for o in graph.operators if o.kind in ("Conv", "Gemm")]
    assert {weight.dtype.name for weight in weights} == {"int8"}
    assert graph.is_wide


def test_frames_keep_their_own_zero_point(wide):
    graph = read_file(wide.qdq)
    scale = networks.SPEC.frame_scale()
    frames = graph.tensors[graph.inputs[0]]
    assert frames.dtype == np.uint8
    assert frames.quantization.zero_point == scale.zero_point + 128 == 114
    behind = graph.tensors[graph.operators[0].outputs[0]]
    assert (behind.dtype, behind.quantization.zero_point) == (np.int16, 0)
    assert behind.quantization.scale == frames.quantization.scale == np.float32(scale.scale)


def test_both_files_are_near_the_reference(wide):
    reference = integer.run(wide.graph, [FRAMES])[wide.graph.outputs[0]].astype(int)
    from_tflite = networks.run_tflite(wide.tflite, FRAMES)
    from_onnx = networks.run_onnx(wide.onnx, FRAMES)
    assert from_tflite.dtype == from_onnx.dtype == np.int16
    assert np.abs(from_tflite - reference).max() <= WHOLE_NETWORK
    assert np.abs(from_onnx - reference).max() <= 1


def test_the_files_hold_the_canonical_integers(wide):
    graph = read_file(wide.qdq)
    for check in (
        scales.compare_tflite(graph, read_tflite(wide.tflite)),
        scales.compare_onnx(graph, read_file(wide.onnx), ".onnx"),
    ):
        assert check.passed, check.detail


def test_the_onnx_file_has_the_opset_that_knows_int16(wide):
    model = ir.load(wide.onnx)
    assert model.opset_imports[""] == OPSET
    assert not wide_opset(model)


def error(calibration: Calibration) -> float:
    """The power of the fake-quantized network's error over that of its outputs."""
    module = networks.network()
    prepared = prepare_module(
        module, networks.SPEC, [networks.frames(32)], calibration=calibration
    ).graph_module
    frames = networks.frames(64, seed=9)
    with torch.no_grad():
        real = module(networks.SPEC.to_model(frames))
        found = prepared(networks.SPEC.to_graph(frames))
    return float((found - real).square().sum() / real.square().sum())


def test_values_in_int16_leave_the_error_of_the_weights_alone():
    assert error(WIDE) < 0.7 * error(Calibration())


@pytest.mark.parametrize("method", ["best", "mse"])
def test_what_else_calibration_does_keeps_int16(method):
    calibration = Calibration(method, equalize=True, biases=True, activations="int16")
    prepared = prepare_module(
        networks.network(), networks.SPEC, [networks.frames(16)], calibration=calibration
    )
    assert {group.scale.kind for group in prepared.plan.groups} == {"int16"}
    assert not prepared.plan.exact


def test_a_float_layer_between_int16_values(tmp_path):
    calibration = Calibration(float_layers=("conv",), activations="int16")
    made = networks.make(networks.network(), tmp_path, calibration=calibration)
    assert violations(read_file(made.qdq)) == []
    reference = integer.run(made.graph, [FRAMES])[made.graph.outputs[0]].astype(int)
    for found in (networks.run_tflite(made.tflite, FRAMES), networks.run_onnx(made.onnx, FRAMES)):
        assert np.abs(found - reference).max() <= WHOLE_NETWORK


def test_float_inputs_and_outputs(tmp_path):
    spec = InputSpec((1, 3, 32, 24), "float32", (), ())
    samples = torch.randn((32, 3, 32, 24), generator=torch.Generator().manual_seed(1))
    made = networks.make(
        networks.network(),
        tmp_path,
        spec=spec,
        samples=samples,
        integer_outputs=False,
        calibration=WIDE,
    )
    given = samples[:8].numpy()
    real = networks.network()(samples[:8]).detach().numpy()
    from_tflite = networks.run_tflite(made.tflite, given.transpose(0, 2, 3, 1))
    from_onnx = networks.run_onnx(made.onnx, given)
    largest = np.abs(real).max()
    assert np.abs(from_tflite - from_onnx).max() <= largest * 1e-3
    assert np.abs(from_onnx - real).max() <= largest * 0.05


class Small(nn.Module):
    """A channel of small weights with a bias of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        with torch.no_grad():
            self.conv.weight[2] *= 1e-5
            self.conv.bias[2] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def test_the_bias_of_a_channel_of_small_weights_fits_int32(tmp_path):
    torch.manual_seed(1)
    made = networks.make(Small().eval(), tmp_path, calibration=WIDE)
    conv = next(operator for operator in made.graph.operators if operator.kind == "Conv")
    bias = made.graph.tensors[conv.inputs[2]]
    assert 2**29 < abs(int(bias.data[2])) <= 2**30
    output = made.graph.tensors[conv.outputs[0]].quantization
    found = networks.run_tflite(made.tflite, FRAMES)[..., 2] * float(output.scale)
    np.testing.assert_allclose(found, 1.0, atol=1e-3)


def test_frames_need_a_zero_point_of_their_own():
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 21]>
        net (float[N, 3, 4, 4] x) => (int16[N, 3, 4, 4] y)
        <float s = {0.1}, int16 z = {0}> { y = QuantizeLinear(x, s, z) }"""
    )
    with pytest.raises(ValueError, match="frames before int16 values need their zero point"):
        frame_input(model)


def test_the_scale_of_a_range_is_symmetric():
    scale = ActivationScale.from_range(-1.0, 3.0, "int16")
    assert scale == ActivationScale.of(3.0 / 32767, 0, "int16")
    assert scale.limits == (-32768, 32767)
    with pytest.raises(ValueError, match="the zero point of int16 must be 0, not 3"):
        ActivationScale.of(0.1, 3, "int16")


def test_the_plan_takes_no_scale_of_int8s():
    graph_module = folded(network(), networks.SPEC)
    plan = make_plan(graph_module, networks.SPEC.frame_scale(), activations="int16")
    samples = [networks.SPEC.to_graph(networks.frames(4))]
    assign(graph_module, plan, measure_ranges(graph_module, plan, samples))
    fixed = [group.scale for group in plan.groups if group.fixed is not None]
    assert len(fixed) > 3
    assert all(scale.kind == "int16" and scale.zero_point == 0 for scale in fixed)
    assert {1 / 32768} < {scale.scale for scale in fixed}
