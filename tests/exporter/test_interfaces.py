"""Inputs and outputs of every kind: int8 frames, floats in, floats out."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from torch import nn

from exporter.inputs import InputSpec
from exporter.quantize.entrance import agrees, near_ties
from exporter.tflite.reader import read_tflite
from exporter.verify import structure

FRAMES = networks.frames(40, seed=5)


def test_int8_frames_give_what_uint8_frames_give(made, tmp_path):
    spec = InputSpec(networks.SPEC.shape, "int8", networks.SPEC.mean, networks.SPEC.std)
    signed = networks.make(networks.network(), tmp_path, spec=spec)
    inputs = spec.golden(FRAMES)
    assert inputs.dtype == np.int8
    wanted = networks.run_tflite(made.tflite, FRAMES.numpy())
    assert np.array_equal(networks.run_tflite(signed.tflite, inputs), wanted)
    assert np.array_equal(networks.run_onnx(signed.onnx, inputs), wanted.astype(int) + 128)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A network that takes and gives floats."""
    spec = InputSpec(networks.SPEC.shape, "float32")
    samples = networks.SPEC.to_model(networks.frames(32))
    folder = tmp_path_factory.mktemp("floats")
    return networks.make(
        networks.network(), folder, spec=spec, samples=samples, integer_outputs=False
    )


def test_floats_in_and_floats_out(real):
    images = networks.SPEC.to_model(FRAMES)
    from_tflite = networks.run_tflite(real.tflite, images.permute(0, 2, 3, 1).numpy())
    from_onnx = networks.run_onnx(real.onnx, images.numpy())
    assert from_tflite.dtype == from_onnx.dtype == np.float32
    np.testing.assert_array_equal(from_tflite, from_onnx)
    with torch.no_grad():
        wanted = networks.network()(images).numpy()
    assert np.square(from_onnx - wanted).sum() < 0.01 * np.square(wanted).sum()
    assert structure.no_float_tensors(real.graph, read_tflite(real.tflite)).passed


def test_floats_on_and_around_ties_give_one_answer(real):
    entrance = real.graph.operators[0]
    assert entrance.kind == "Quantize"
    scale = float(real.graph.tensors[entrance.outputs[0]].quantization.scale)
    assert agrees(scale)
    images = np.resize(near_ties(scale), (12, *networks.SPEC.shape[1:])).astype(np.float32)
    from_tflite = networks.run_tflite(real.tflite, np.moveaxis(images, 1, -1))
    np.testing.assert_array_equal(from_tflite, networks.run_onnx(real.onnx, images))


def test_a_tflite_file_takes_any_batch(made):
    from runtimes.backend import open_model

    backend = open_model(made.tflite)
    try:
        assert [spec.shape[0] for spec in (*backend.inputs, *backend.outputs)] == [None, None]
        for count in (1, 7, 3):
            backend.resize(count)
            backend.set_inputs([FRAMES[:count].numpy()])
            backend.invoke()
            found = backend.get_outputs()[0]
            np.testing.assert_array_equal(
                found, networks.run_tflite(made.tflite, FRAMES[:count].numpy())
            )
    finally:
        backend.close()


class Attention(nn.Module):
    """Products of computed matrices, whose batch stays one in a .tflite file."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_a_file_whose_kernels_need_one_batch_says_so(tmp_path):
    torch.manual_seed(0)
    attention = networks.make(Attention().eval(), tmp_path)
    file = read_tflite(attention.tflite)
    assert file.tensors[file.inputs[0]].signature[0] == 1
