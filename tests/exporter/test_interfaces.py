"""Inputs and outputs of every kind: int8 frames, floats in, floats out."""

from __future__ import annotations

import networks
import numpy as np
import torch

from exporter.inputs import InputSpec
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


def test_floats_in_and_floats_out(tmp_path):
    spec = InputSpec(networks.SPEC.shape, "float32")
    samples = networks.SPEC.to_model(networks.frames(32))
    real = networks.make(
        networks.network(), tmp_path, spec=spec, samples=samples, integer_outputs=False
    )
    images = networks.SPEC.to_model(FRAMES)
    from_tflite = networks.run_tflite(real.tflite, images.permute(0, 2, 3, 1).numpy())
    from_onnx = networks.run_onnx(real.onnx, images.numpy())
    assert from_tflite.dtype == from_onnx.dtype == np.float32
    # A tie at the entrance may round either way: all but a few values are equal.
    assert np.mean(from_tflite != from_onnx) < 0.05
    with torch.no_grad():
        wanted = networks.network()(images).numpy()
    assert np.square(from_onnx - wanted).sum() < 0.01 * np.square(wanted).sum()
    assert structure.no_float_tensors(real.graph, read_tflite(real.tflite)).passed
