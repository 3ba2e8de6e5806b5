"""Whole networks: the zoo's, quantized by ONNX Runtime, and those that the onnx package carries."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import onnx
import ort_models
import pytest
import torch
from onnx_models import save
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from benchmarks.corpus_models import filled
from examples.models import ZOO
from exporter.convert import IN_ONNX, IN_SOURCE, IN_TFLITE, Wishes, convert
from exporter.quantize.capture import quiet_torch

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# Residual additions, and a mean, of scales that nobody chose to be exact.
LSB = {"resnet18": 8, "squeezenet1_1": 0, "unet": 0}


def exported(name, path):
    """A narrow network of the zoo as float ONNX."""
    entry = ZOO[name]
    with quiet_torch(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            entry.settled(small=True),
            (entry.example(1, small=True),),
            dynamo=True,
            input_names=["x"],
            opset_version=20,
            verbose=False,
        )
    program.save(path, external_data=False)
    return path


@pytest.fixture(scope="module", params=list(LSB))
def network(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, exported(request.param, folder / "float.onnx")


def row(conversion, one, other):
    return next(r for r in conversion.differences if {r.one, r.other} == {one, other})


@pytest.mark.slow
def test_float(network, tmp_path):
    conversion = convert(network[1], tmp_path / "out.tflite", Wishes(samples=2))
    assert conversion.in_float == ()
    assert all(entry.max_relative < 1e-4 for entry in conversion.differences)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantized(network, tmp_path, form):
    name, source = network
    shape = tuple(ZOO[name].example(1, small=True).shape)
    target = tmp_path / "quantized.onnx"
    quantize_static(
        source,
        target,
        ort_models.Samples("x", shape),
        quant_format=getattr(QuantFormat, form),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,  # see onnx_models.products_saturate
    )
    conversion = convert(target, tmp_path / "out.tflite", Wishes(samples=4))
    assert conversion.requantized == ()
    again = row(conversion, IN_SOURCE, IN_ONNX)
    quantized = not any(entry.operator == "Conv" for entry in conversion.in_float)
    if not quantized:  # a transposed convolution that stays float is written as another sum
        assert again.differing < 0.05 * again.values
        assert round(again.max_lsb) <= 8
    else:  # a float Conv between quantizers has its weights quantized by the session
        assert again.differing == 0
        found = row(conversion, IN_TFLITE, IN_ONNX)
        in_steps = found.max_lsb is not None
        assert round(found.max_lsb) <= LSB[name] if in_steps else found.max_relative < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1", "densenet121"])
def test_networks_of_opset_9(tmp_path, name):
    source = save(filled(LIGHT / f"light_{name}.onnx"), tmp_path / "in.onnx")
    conversion = convert(source, tmp_path / "out.tflite", Wishes(samples=1))
    assert conversion.source.opset == 9
    assert row(conversion, IN_SOURCE, IN_TFLITE).max_relative < 1e-3
