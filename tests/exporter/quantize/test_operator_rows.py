"""What `edgewright ops` lists for PyTorch: a small network of each operator becomes files."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from exporter.graph.layout import image_tensors
from exporter.inputs import InputSpec
from exporter.operators import torch_rows
from exporter.quantize.capture import capture

SPEC = InputSpec((1, 3, 6, 6), "uint8", (0.5,), (0.25,))


class Listed(nn.Module):
    """Each function, or layer, behind a convolution of its own: as many outputs."""

    def __init__(self, functions) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.functions = functions
        self.layers = nn.ModuleList(f for f in functions if isinstance(f, nn.Module))
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 3, padding=1) for _ in functions)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(f(conv(x)) for f, conv in zip(self.functions, self.convs, strict=True))


def positive(function):
    """Of values away from zero."""
    return lambda y: function(y.sigmoid() + 0.5)


def changed(name, *args):
    """A method that works in place, on a value of its own."""
    return lambda y: getattr(y * 1.5, name)(*args)


def tokens(y):
    return y.flatten(2).transpose(1, 2)


class Affine(nn.Module):
    """Parameters as operands."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor([2, 0, 5]))
        self.weight = nn.Parameter(torch.randn(4, 8))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y.mean((2, 3)) @ self.weight.t()


class Numpy(Affine):
    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y.mean((2, 3)) @ self.weight.T


class Index(Affine):
    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y[:, self.places]


class IndexSelect(Affine):
    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y.index_select(1, self.places)


CASES = {
    "abs": torch.abs,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d((2, 3)),
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d((2, 3)),
    "add": lambda y: y + y.sigmoid(),
    "add_": changed("add_", 0.5),
    "amax": lambda y: y.amax((2, 3)),
    "amin": lambda y: y.amin((2, 3)),
    "argmax": lambda y: y.argmax(1),
    "argmin": lambda y: y.argmin(1),
    "avg_pool2d": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "batch_norm": nn.Sequential(nn.ReLU(), nn.BatchNorm2d(8)),
    "bmm": lambda y: torch.bmm(y.flatten(2), tokens(y)),
    "cat": lambda y: torch.cat([y, y.sigmoid()], 1),
    "celu": nn.CELU(0.7),
    "celu_": nn.CELU(inplace=True),
    "channel_shuffle": nn.ChannelShuffle(4),
    "chunk": lambda y: torch.maximum(*y.chunk(2, 1)),
    "clamp": lambda y: y.clamp(-0.5, 0.5),
    "clamp_": changed("clamp_", -0.5, 0.5),
    "clone": lambda y: y.clone() + 1.0,
    "conv1d": nn.Sequential(nn.Flatten(2), nn.Conv1d(8, 4, 3)),
    "conv2d": nn.Conv2d(8, 4, 3),
    "conv_transpose2d": nn.ConvTranspose2d(8, 4, 3, 2),
    "div": lambda y: y.sigmoid() / (y.sigmoid() + 1.0),
    "div_": changed("div_", 3.0),
    "dropout": nn.Dropout(),
    "elu": nn.ELU(),
    "elu_": lambda y: functional.elu_(y * 1.5),
    "erf": torch.erf,
    "exp": torch.exp,
    "expand": lambda y: y.mean((2, 3), keepdim=True).expand(-1, -1, 3, 3),
    "flatten": lambda y: y.flatten(1),
    "gelu": nn.GELU(),
    "group_norm": nn.GroupNorm(4, 8),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardsigmoid_": nn.Hardsigmoid(inplace=True),
    "hardswish": nn.Hardswish(),
    "hardswish_": nn.Hardswish(inplace=True),
    "hardtanh": nn.Hardtanh(),
    "hardtanh_": nn.Hardtanh(inplace=True),
    "index": Index(),
    "index_select": IndexSelect(),
    "instance_norm": nn.InstanceNorm2d(8),
    "layer_norm": lambda y: functional.layer_norm(tokens(y), [8]),
    "leaky_relu": nn.LeakyReLU(),
    "leaky_relu_": nn.LeakyReLU(inplace=True),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(288, 4)),
    "matmul": lambda y: y.flatten(2) @ tokens(y),
    "max": lambda y: y.max(1)[0],
    "max_pool2d": nn.MaxPool2d(2),
    "maximum": lambda y: torch.maximum(y, y.sigmoid()),
    "mean": lambda y: y.mean((2, 3)),
    "minimum": lambda y: torch.minimum(y, y.sigmoid()),
    "mish": nn.Mish(),
    "mish_": nn.Mish(inplace=True),
    "mul": lambda y: y * y.sigmoid(),
    "mul_": changed("mul_", 0.5),
    "narrow": lambda y: y.narrow(1, -6, 3),
    "neg": torch.neg,
    "numpy_T": Numpy(),
    "pad": lambda y: functional.pad(y, (1, 1, 2, 0)),
    "permute": lambda y: y.permute(0, 2, 3, 1),
    "pixel_shuffle": nn.PixelShuffle(2),
    "pixel_unshuffle": nn.PixelUnshuffle(2),
    "pow": lambda y: y**2,
    "prelu": nn.PReLU(8),
    "reciprocal": positive(lambda y: 2.0 / y),
    "relu": nn.ReLU(),
    "relu6": torch.ops.aten.relu6,
    "relu6_": lambda y: torch.ops.aten.relu6_(y * 1.5),
    "relu_": nn.ReLU(inplace=True),
    "repeat": lambda y: y.repeat(1, 2, 1, 1),
    "reshape": lambda y: y.reshape(-1, 4, 72),
    "rsqrt": positive(torch.rsqrt),
    "rsub": lambda y: torch.rsub(y, 1.0),
    "scaled_dot_product_attention": lambda y: functional.scaled_dot_product_attention(
        tokens(y), tokens(y), tokens(y)
    ),
    "select": lambda y: y[:, 3],
    "selu": nn.SELU(),
    "selu_": nn.SELU(inplace=True),
    "sigmoid": torch.sigmoid,
    "sigmoid_": changed("sigmoid_"),
    "silu": nn.SiLU(),
    "silu_": nn.SiLU(inplace=True),
    "slice": lambda y: y[:, 2:7],
    "softmax": lambda y: y.mean((2, 3)).softmax(1),
    "softplus": nn.Softplus(2.0),
    "split": lambda y: torch.maximum(*y.split(4, 1)),
    "split_with_sizes": lambda y: y.split([3, 5], 1)[1],
    "sqrt": positive(torch.sqrt),
    "square": torch.square,
    "squeeze": lambda y: y.mean((2, 3), keepdim=True).squeeze(3),
    "stack": lambda y: torch.stack([y.mean((2, 3)), y.amax((2, 3))], 1),
    "sub": lambda y: y - y.sigmoid(),
    "sub_": changed("sub_", 0.5),
    "sum": lambda y: y.sum((2, 3)),
    "sym_size": lambda y: y.view(y.shape[0], 288),
    "t": Affine(),
    "tanh": torch.tanh,
    "tanh_": changed("tanh_"),
    "to": lambda y: y.argmax(1).float(),
    "topk": lambda y: y.mean((2, 3)).topk(3)[0],
    "transpose": lambda y: y.flatten(2).transpose(1, 2),
    "unbind": lambda y: y.unbind(1)[2],
    "unflatten": lambda y: y.unflatten(1, (2, 4)),
    "unsqueeze": lambda y: y.mean((2, 3)).unsqueeze(1),
    "upsample_bilinear2d": nn.Upsample(scale_factor=2, mode="bilinear"),
    "upsample_nearest2d": nn.Upsample(scale_factor=2),
    "view": lambda y: y.view(-1, 288),
}


def test_every_row_has_its_case():
    assert {row.name for row in torch_rows()} == {f"aten.{name}" for name in CASES}


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return Listed(list(CASES.values())).eval()


@pytest.fixture(scope="module")
def operators(module) -> set[str]:
    graph = capture(module, torch.zeros(2, *SPEC.shape[1:])).graph
    return {str(node.target).rpartition(".")[0] for node in graph.nodes}


@pytest.fixture(scope="module")
def outputs(module, tmp_path_factory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What LiteRT and ONNX Runtime give, by operator."""
    generator = np.random.default_rng(3)
    frames = torch.from_numpy(generator.integers(0, 256, (16, 6, 6, 3), np.uint8))
    made = networks.make(module, tmp_path_factory.mktemp("rows"), spec=SPEC, samples=frames)
    inputs = frames[:4].numpy()
    images = image_tensors(made.graph)
    tflite = [
        np.moveaxis(array, -1, 1) if output in images else array
        for output, array in zip(
            made.graph.outputs, networks.run_tflite_all(made.tflite, inputs), strict=True
        )
    ]
    onnx = networks.run_onnx_all(made.onnx, inputs)
    return dict(zip(CASES, zip(tflite, onnx, strict=True), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_what_is_listed_is_exported(operators, outputs, name):
    assert f"aten.{name}" in operators
    tflite, onnx = outputs[name]
    integers = onnx.astype(int) - (128 if onnx.dtype == np.uint8 else 0)
    distance = np.abs(tflite.astype(int) - integers)
    assert distance.max() <= 1  # norms and products of matrices, elsewhere 0
