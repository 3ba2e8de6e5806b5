"""Layers as PyTorch has them, all the way to files: fp32 as in PyTorch, int8 alike in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networks
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from exporter.errors import UnsupportedError
from exporter.graph import integer, passes
from exporter.graph.read import read
from exporter.inputs import InputSpec
from exporter.onnx_export import to_onnx
from exporter.quantize.edit import ATEN, calls
from exporter.quantize.quantize import Calibration, folded, prepare_module
from exporter.tflite import lower

SPEC = InputSpec((1, 3, 11, 14), "uint8", (0.5,), (0.25,))
FRAMES = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (48, 11, 14, 3), np.uint8))

POOLS = {
    "average": nn.AvgPool2d(3, 2, 1),
    "average, padding left out": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "average, rounded up": nn.AvgPool2d(3, 2, ceil_mode=True),
    "average, rounded up and counted": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average, all": nn.AvgPool2d(2, 3, 1, ceil_mode=True, count_include_pad=False),
    "average, divisor": nn.AvgPool2d(3, 2, 1, divisor_override=5),
    "largest, adaptive to one": nn.AdaptiveMaxPool2d(1),
    "largest, adaptive": nn.AdaptiveMaxPool2d((3, 4)),
    "largest, adaptive, repeated rows": nn.AdaptiveMaxPool2d((18, 4)),
    "largest, rounded up": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "largest, a last window outside": nn.MaxPool2d(2, 3, 1, ceil_mode=True),
}


NORMS = {
    "groups": nn.GroupNorm(4, 8),
    "one group": nn.GroupNorm(1, 8),
    "as many groups as channels": nn.GroupNorm(8, 8, affine=False),
    "instance": nn.InstanceNorm2d(8, affine=True),
    "instance, plain": nn.InstanceNorm2d(8),
}


class Signal(nn.Module):
    """A convolution of rows laid end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.flatten(2)).unflatten(2, x.shape[2:])


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Excitation(nn.Module):
    """Squeeze and excite (Hu et al., arXiv:1709.01507)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


LAYERS = {
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "GELU": nn.GELU(),
    "CELU": nn.CELU(0.7),
    "SELU": nn.SELU(),
    "softplus": nn.Softplus(),
    "softplus with a factor": nn.Softplus(2.0),
    "error function": Function(torch.erf),
    "narrowed": Function(lambda y: torch.cat([y.narrow(1, -4, 4), y.narrow(1, 1, 4)], 1)),
    "reciprocal": nn.Sequential(nn.Sigmoid(), Function(lambda y: 2.0 / (y + 1.0))),
    "root mean square norm": Function(
        lambda y: y * (y.square().mean(1, keepdim=True) + 0.1).rsqrt()
    ),
    "squeeze and excite": Excitation(),
    "signal": Signal(),
    "transposed": nn.ConvTranspose2d(8, 8, 3, 2, 1, 1),
    "dilated groups": nn.Conv2d(8, 8, 3, dilation=2, groups=2),
    "batch norm that nothing takes": nn.Sequential(nn.ReLU(), nn.BatchNorm2d(8)),
    "pixel shuffle and back": nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2)),
    "channel shuffle": nn.ChannelShuffle(4),
    "adaptive": nn.AdaptiveAvgPool2d((3, 4)),
    "adaptive, windows that overlap, repeated rows": nn.AdaptiveAvgPool2d((18, 11)),
    "resized to a size": nn.Upsample((13, 17), mode="bilinear"),
    "resized to a size, nearest": nn.Upsample((13, 17)),
    "resized by a broken factor, nearest": nn.Upsample(scale_factor=1.6),
    "adaptive from one pixel": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(7)),
}


class Behind(nn.Module):
    """Layers side by side behind a convolution, a convolution behind each: as many outputs."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.conv, self.layers = nn.Conv2d(3, 8, 3), nn.ModuleList(layers)
        self.heads = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.conv(x)
        return tuple(head(layer(y)) for layer, head in zip(self.layers, self.heads, strict=True))


def behind(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    module = Behind(list(layers))
    for own in module.layers.parameters():
        nn.init.normal_(own, 0.7, 0.4)
    return module.eval()


@dataclass(frozen=True)
class Found:
    """What one layer's output is, [N, C, H, W]: in float, and as integers with their scale."""

    real: np.ndarray
    float_tflite: np.ndarray
    float_onnx: np.ndarray
    reference: np.ndarray
    tflite: np.ndarray
    onnx: np.ndarray
    dequantized: np.ndarray


def found(layers: dict[str, nn.Module], folder) -> dict[str, Found]:
    """All layers through both float files, both int8 files and the integer reference."""
    module = behind(*layers.values())
    images = SPEC.to_model(FRAMES[:12])
    with torch.no_grad():
        real = [output.numpy() for output in module(images)]
    model = to_onnx(folded(module, SPEC), images, "net")
    passes.pool_padding(model)
    passes.clean(model)
    ir.save(model, folder / "f.onnx")
    (folder / "f.tflite").write_bytes(lower(read(model)))
    float_onnx = networks.run_onnx_all(folder / "f.onnx", images.numpy())
    float_tflite = networks.run_tflite_all(folder / "f.tflite", images.movedim(1, -1).numpy())
    made = networks.make(module, folder, spec=SPEC, samples=FRAMES)
    frames = FRAMES[:12].numpy()
    tflite = networks.run_tflite_all(made.tflite, frames)
    onnx = [
        (array.astype(int) - 128).astype(np.int8)
        for array in networks.run_onnx_all(made.onnx, frames)
    ]
    values = integer.run(made.graph, [frames])
    results = {}
    for index, name in enumerate(layers):
        output = made.graph.outputs[index]
        scale = made.graph.tensors[output].quantization
        results[name] = Found(
            real[index],
            np.moveaxis(float_tflite[index], -1, 1),
            float_onnx[index],
            values[output],
            np.moveaxis(tflite[index], -1, 1),
            onnx[index],
            (onnx[index].astype(float) - scale.zero_point) * float(scale.scale),
        )
    return results


@pytest.fixture(scope="module")
def pools(tmp_path_factory) -> dict[str, Found]:
    return found(POOLS, tmp_path_factory.mktemp("pools"))


@pytest.fixture(scope="module")
def layers(tmp_path_factory) -> dict[str, Found]:
    return found(LAYERS, tmp_path_factory.mktemp("layers"))


@pytest.fixture(scope="module")
def norms(tmp_path_factory) -> dict[str, Found]:
    return found(NORMS, tmp_path_factory.mktemp("norms"))


def check_real(layer: Found) -> None:
    """Both float files within 1e-5 of the largest value; the integers stand for the same."""
    largest = np.abs(layer.real).max()
    for output in (layer.float_onnx, layer.float_tflite):
        np.testing.assert_allclose(output, layer.real, rtol=0, atol=1e-5 * largest)
    noise = np.square(layer.dequantized - layer.real).sum() / np.square(layer.real).sum()
    # A mean keeps its input's scale for exactness; the means of noise are far smaller than noise.
    assert 10 * np.log10(1 / noise) > 18  # dB


@pytest.mark.parametrize("name", POOLS)
def test_pooling(pools, name):
    layer = pools[name]
    check_real(layer)
    np.testing.assert_array_equal(layer.tflite, layer.reference)
    np.testing.assert_array_equal(layer.onnx, layer.reference)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_become_others(layers, name):
    layer = layers[name]
    check_real(layer)
    np.testing.assert_array_equal(layer.tflite, layer.onnx)
    distance = np.abs(layer.onnx.astype(int) - layer.reference)
    assert distance.max() <= 1
    assert np.mean(distance > 0) < 0.001


@pytest.mark.parametrize("name", NORMS)
def test_normalization_is_alike_within_a_step(norms, name):
    layer = norms[name]
    check_real(layer)
    for output in (layer.tflite, layer.onnx):
        distance = np.abs(output.astype(int) - layer.reference)
        # A step of the norm is up to two of the convolution behind it.
        assert distance.max() <= 2
        assert np.mean(distance > 0) < 0.01


def test_instance_norm_with_running_statistics_is_a_batch_norm():
    layer = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
    layer.running_mean.normal_(0.0, 0.3)
    layer.running_var.uniform_(0.5, 2.0)
    module, images = behind(layer), SPEC.to_model(FRAMES[:4])
    graph_module = folded(module, SPEC)
    assert not calls(graph_module, ATEN.instance_norm.default, ATEN.batch_norm.default)
    with torch.no_grad():
        torch.testing.assert_close(graph_module(images)[0], module(images)[0])


@pytest.mark.parametrize("layer", [nn.AdaptiveAvgPool2d((5, 12)), nn.AdaptiveMaxPool2d((4, 5))])
def test_adaptive_pooling_with_windows_of_two_sizes_is_refused(layer):
    with pytest.raises(UnsupportedError, match="its windows differ in size: 9x12 to ") as caught:
        prepare_module(behind(layer), SPEC, [FRAMES])
    assert "a size that divides the input's" in caught.value.remedy


def test_positions_of_adaptive_pooling_are_refused():
    class Positions(nn.AdaptiveMaxPool2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            values, positions = super().forward(x)
            return values * positions

    with pytest.raises(UnsupportedError, match="its positions are read"):
        prepare_module(behind(Positions(1, return_indices=True)), SPEC, [FRAMES])


def test_a_divisor_with_sizes_rounded_up_is_refused():
    layer = nn.AvgPool2d(3, 2, ceil_mode=True, divisor_override=5)
    with pytest.raises(UnsupportedError, match="rounds sizes up and has a divisor of its own"):
        prepare_module(behind(layer), SPEC, [FRAMES])


class Largest(nn.Module):
    """The largest values of a convolution's outputs, and their positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.point = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, positions = self.point(torch.relu(self.conv(x))).mean((2, 3)).topk(2)
        return values, positions


def test_topk_behind_a_convolution(tmp_path):
    torch.manual_seed(1)
    calibration = Calibration(pair_channels=True)
    made = networks.make(
        Largest().eval(), tmp_path, spec=SPEC, samples=FRAMES, calibration=calibration
    )
    frames = FRAMES[:12].numpy()
    values, positions = networks.run_tflite_all(made.tflite, frames)
    onnx_values, onnx_positions = networks.run_onnx_all(made.onnx, frames)
    np.testing.assert_array_equal(values, (onnx_values.astype(int) - 128).astype(np.int8))
    np.testing.assert_array_equal(positions, onnx_positions)
    reference = integer.run(made.graph, [frames])
    np.testing.assert_array_equal(values, reference[made.graph.outputs[0]])
