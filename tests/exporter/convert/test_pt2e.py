"""Models that torchao's PT2E quantized come in as they are: its integers, its scales."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest
import torch
from onnx_models import products_saturate
from torch import nn

from exporter import export_quantized
from exporter.convert import IN_ONNX, IN_SOURCE, IN_TFLITE, Wishes
from exporter.errors import ModelError, UnsupportedError
from exporter.graph.read import read_file
from exporter.tflite.reader import read_tflite

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None,
    reason="torchao is not installed (pip install torchao==0.18.0): models of its quantizer are "
    "not tested",
)
EXAMPLE = (1, 3, 24, 16)


class Joined(nn.Module):
    """Two branches of different ranges side by side, a residual, pooling, a dense layer."""

    def __init__(self, activation=torch.relu):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)
        self.pool = nn.MaxPool2d(2)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 1)
        self.point = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)
        self.activation = activation

    def forward(self, x):
        x = self.pool(torch.relu(self.bn(self.stem(x))))
        x = torch.relu(self.conv(x) + x)
        x = torch.cat([torch.relu(self.left(x)), self.right(x)], 1)
        x = self.activation(self.point(x))
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


@pytest.fixture(scope="module")
def quantized():
    """Makes a network quantized by torchao; `stop` leaves it prepared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.testing.pt2e._xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )

    def make(*, activation=torch.relu, stop=False, **options):
        torch.manual_seed(0)
        network = Joined(activation).eval()
        nn.init.uniform_(network.bn.running_var, 0.5, 2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            captured = torch.export.export(network, (torch.zeros(EXAMPLE),)).module()
            config = get_symmetric_quantization_config(is_per_channel=True)
            prepared = prepare_pt2e(captured, XNNPACKQuantizer().set_global(config))
            for _ in range(4):
                prepared(torch.randn(EXAMPLE))
            return prepared if stop else convert_pt2e(prepared, **options)

    return make


def weights_of(module) -> list[tuple[bytes, bytes]]:
    """(integers, scales) of every weight that torchao quantized, sorted."""
    found = []
    for node in module.graph.nodes:
        if "dequantize_per_channel" in str(node.target):
            integers, scales = (getattr(module, str(arg.target)) for arg in node.args[:2])
            found.append((integers.numpy().tobytes(), scales.float().numpy().tobytes()))
    return sorted(found)


def activations_of(module) -> set[tuple[float, int]]:
    return {
        (float(np.float32(node.args[1])), node.args[2])
        for node in module.graph.nodes
        if "dequantize_per_tensor" in str(node.target)
    }


@pytest.fixture(scope="module")
def exported(quantized, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pt2e")
    module = quantized()
    return (
        module,
        folder,
        export_quantized(module, torch.zeros(EXAMPLE), folder, "net", formats=("tflite", "onnx")),
    )


def test_the_integers_and_scales_are_torchaos(exported):
    module, folder, _ = exported
    graph = read_file(folder / "net.qdq.onnx")
    inside = sorted(
        (t.data.tobytes(), np.asarray(t.quantization.scale, np.float32).tobytes())
        for t in graph.constants()
        if t.data.dtype == np.int8 and t.quantization is not None
    )
    assert inside == weights_of(module)
    assert len(inside) == 6


def in_tflite(path) -> tuple[list[tuple[bytes, bytes]], set[tuple[float, int]]]:
    """(sorted integers, scales) of every weight, and (scale, zero point) of every activation."""
    weights, activations = [], set()
    for tensor in read_tflite(path).tensors:
        if tensor.scale is not None and tensor.data is None:
            activations.add((float(tensor.scale[0]), tensor.zero_point))
        elif tensor.scale is not None and tensor.dtype == np.int8:
            weights.append((np.sort(tensor.data, None).tobytes(), tensor.scale.tobytes()))
    return sorted(weights), activations


def test_the_tflite_has_them_too(exported):
    module, folder, _ = exported
    weights, activations = in_tflite(folder / "net.int8.tflite")
    theirs = [(np.sort(np.frombuffer(w, np.int8)).tobytes(), s) for w, s in weights_of(module)]
    assert weights == sorted(theirs)
    assert activations <= activations_of(module)
    assert len(activations) > 6


def test_both_runtimes_give_what_the_source_gives(exported):
    _, folder, made = exported
    if products_saturate():
        pytest.skip(
            "NOT TESTED: torchao's weights take the whole int8 range, on which ONNX Runtime's "
            "products saturate on a CPU that has AVX2 and no VNNI"
        )
    assert set(made) == {"tflite", "onnx"}
    assert (folder / "net.int8.onnx").is_file()
    for row in made["tflite"].differences:
        assert {row.one, row.other} <= {IN_SOURCE, IN_ONNX, IN_TFLITE}
        # A plain file's scales are not exact between runtimes: see the design.
        assert row.max_lsb < 1.5
    assert not [row for row in made["tflite"].in_float if not row.by_design]


def test_unequal_scales_of_a_concatenation_are_handled_and_told(exported):
    _, _, made = exported
    told = {rewrite.what: rewrite for rewrite in made["tflite"].rewrites}
    assert told["inputs of what only selects take its scale"].count == 2


def test_weights_that_torchao_left_float_are_the_same_integers(exported, quantized, tmp_path):
    _, folder, _ = exported
    module = quantized(fold_quantize=False)
    export_quantized(module, torch.zeros(EXAMPLE), tmp_path, "net", formats=("tflite",))
    ours, theirs = (in_tflite(place / "net.int8.tflite") for place in (folder, tmp_path))
    assert ours == theirs
    assert any("quantize_per_channel" in str(node.target) for node in module.graph.nodes)


def test_what_the_quantizer_left_in_float_is_refused_by_name(quantized, tmp_path):
    module = quantized(activation=nn.functional.silu)
    options = {"directory": tmp_path, "formats": ("tflite",)}
    with pytest.raises(UnsupportedError, match=r"in float(.|\n)*annotate it") as caught:
        export_quantized(module, torch.zeros(EXAMPLE), **options)
    assert caught.value.node
    assert not (tmp_path / "model.int8.tflite").exists()
    made = export_quantized(module, torch.zeros(EXAMPLE), **options, wishes=Wishes())
    assert caught.value.node in {row.node for row in made["tflite"].in_float}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("float", r"none of them(.|\n)*prepare_qat"),
        ("prepared", r"prepared, not converted(.|\n)*convert_pt2e\(prepared\) first"),
    ],
)
def test_a_module_that_is_not_converted_is_refused(quantized, tmp_path, kind, words):
    module = Joined() if kind == "float" else quantized(stop=True)
    with pytest.raises(ModelError, match=words):
        export_quantized(module, torch.zeros(EXAMPLE), tmp_path)


def test_training_mode_is_refused(tmp_path):
    class Quantized(nn.Module):
        def forward(self, x):
            ops = torch.ops.quantized_decomposed
            x = ops.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
            x = ops.dequantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
            return torch.ops.aten.dropout(x, 0.5, True)

    import exporter.quantize.finish  # noqa: F401 - registers the operators

    module = torch.export.export(Quantized(), (torch.zeros(EXAMPLE),)).module()
    with pytest.raises(ModelError, match="is in training mode"):
        export_quantized(module, torch.zeros(EXAMPLE), tmp_path)
