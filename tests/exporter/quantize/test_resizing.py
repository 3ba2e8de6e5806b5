"""exporter/quantize/rewrites/resizing.py: sizes as factors, and which pixel is the nearest."""

from __future__ import annotations

import networks
import numpy as np
import torch
from torch import nn

from exporter.graph import integer
from exporter.inputs import InputSpec
from exporter.quantize.rewrites.resizing import _factor

SIZES = range(2, 129)


def test_a_factor_gives_the_size_in_single_and_in_double_precision():
    for have in SIZES:
        for want in SIZES:
            factor = _factor(have, want)
            assert factor == np.float32(factor)
            assert int(factor * have) == want
            assert int(np.float32(factor) * np.float32(have)) == want


def test_nearest_pixels_are_the_same_in_every_file(tmp_path):
    """The 13th of 26 rows is the 7th of 14; 13 over 26 / 14 in float32 is just below 7."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Upsample((26, 44))).eval()
    frames = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (16, 14, 20, 3), np.uint8))
    spec = InputSpec((1, 3, 14, 20), "uint8", (0.5,), (0.25,))
    made = networks.make(network, tmp_path, spec=spec, samples=frames)
    tflite = np.moveaxis(networks.run_tflite(made.tflite, frames.numpy()), -1, 1)
    onnx = networks.run_onnx(made.onnx, frames.numpy()).astype(int) - 128
    np.testing.assert_array_equal(tflite, onnx)
    values = integer.run(made.graph, [frames.numpy()])
    np.testing.assert_array_equal(onnx, values[made.graph.outputs[0]])
