"""One model, one answer: what was quantized is what ships, and both runtimes agree bit for bit."""

from __future__ import annotations

import time

import networks
import numpy as np
import pytest
import torch
from tiny import export_network

from exporter.graph.canonical import violations
from exporter.graph.read import read_file
from exporter.quantize.finish import finish
from exporter.quantize.quantize import folded, prepare_module
from exporter.tflite import lower
from exporter.tflite.reader import read_tflite
from exporter.verify import scales, structure

FRAMES = networks.frames(200, seed=7)


def test_both_runtimes_give_the_same_integers(made):
    from_tflite = networks.run_tflite(made.tflite, FRAMES.numpy())
    from_onnx = networks.run_onnx(made.onnx, FRAMES.numpy())
    assert from_tflite.dtype == np.int8
    assert from_onnx.dtype == np.uint8
    assert len(np.unique(from_tflite)) > 50  # a dead network would agree too
    assert np.array_equal(from_tflite.astype(int) + 128, from_onnx)


def test_the_integers_stand_for_the_networks_own_outputs(made):
    module = networks.network()
    with torch.no_grad():
        real = module(networks.SPEC.to_model(FRAMES)).numpy()
    output = made.graph.tensors[made.graph.outputs[0]].quantization
    integers = networks.run_tflite(made.tflite, FRAMES.numpy()).astype(int)
    found = (integers - output.zero_point) * float(output.scale)
    noise = np.square(found - real).sum() / np.square(real).sum()
    assert 10 * np.log10(1 / noise) > 20  # dB


def test_folding_keeps_the_outputs():
    module = networks.network()
    inputs = networks.SPEC.to_model(FRAMES[:16])
    with torch.no_grad():
        torch.testing.assert_close(
            folded(module, networks.SPEC)(inputs), module(inputs), rtol=1e-4, atol=1e-4
        )


def test_finish_keeps_every_float():
    prepared = prepare_module(networks.network(), networks.SPEC, [networks.frames(32)])
    inputs = networks.SPEC.to_graph(FRAMES[:32])
    with torch.no_grad():
        before = prepared.graph_module(inputs)
        after = finish(prepared.graph_module)[0](inputs)
    assert torch.equal(before, after)


def test_files_equal_the_canonical_graph(made):
    assert scales.compare_tflite(made.graph, read_tflite(made.tflite)).passed
    assert scales.compare_onnx(made.graph, read_file(made.onnx), ".onnx").passed
    assert scales.compare_onnx(made.graph, read_file(made.qdq), ".onnx").passed
    assert not violations(made.graph)


TIED = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        silu = nn.functional.silu
        x = silu(self.stem(x))
        inner = self.inner(x)
        # Its scale is asked for by a product and by a sum: it cannot give way to the next one.
        return self.head(x + (silu(inner) + nn.functional.max_pool2d(inner, 3, 1, 1)))
"""


def test_places_that_no_rule_holds_together_are_told(tmp_path):
    said = " ".join(export_network(tmp_path, TIED).split())
    assert "the runtimes may round apart at add: the scales of an addition are all tied" in said


def test_a_changed_integer_is_found(made):
    graph = read_file(made.qdq)
    weight = next(t for t in graph.constants() if t.dtype == np.int8)
    weight.data = weight.data.copy()
    weight.data.flat[0] += 1
    check = scales.compare_tflite(graph, read_tflite(made.tflite))
    assert not check.passed
    assert weight.name in check.detail


def test_a_changed_scale_is_found(made):
    graph = read_file(made.qdq)
    tensor = graph.tensors[graph.outputs[0]]
    object.__setattr__(tensor.quantization, "scale", tensor.quantization.scale * np.float32(1.01))
    assert not scales.compare_tflite(graph, read_tflite(made.tflite)).passed


@pytest.mark.parametrize(
    "check",
    [structure.pair_rule, structure.requantization_ratios],
)
def test_structure_of_the_graph(made, check):
    assert check(made.graph).passed


def test_structure_of_the_files(made):
    assert structure.no_float_tensors(made.graph, read_tflite(made.tflite)).passed
    assert structure.no_transposes(made.graph, read_tflite(made.tflite)).passed
    assert structure.integer_kernels(made.graph, made.onnx).passed


def test_lowering_is_quick(made):
    start = time.process_time()
    lower(made.graph)
    assert time.process_time() - start < 1.0
