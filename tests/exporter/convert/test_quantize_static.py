"""Models of ONNX Runtime's own quantizer, in every mode: the integers arrive as they were."""

from __future__ import annotations

import numpy as np
import onnx
import ort_models
import pytest
from onnx import numpy_helper
from onnx_models import products_saturate, save, small
from onnxruntime.quantization import QuantType, quantize_static

from exporter.convert import IN_ONNX, IN_SOURCE, IN_TFLITE, Wishes, convert
from exporter.errors import UnsupportedError
from exporter.graph.read import read_file
from exporter.tflite.reader import read_tflite

MODES = [
    (form, activations, per_channel)
    for form in ("QDQ", "QOperator")
    for activations in ("QInt8", "QUInt8")
    for per_channel in (False, True)
]
# Depends on the source's own kernels: ONNX Runtime computes int8 and uint8 with different ones.
SOURCE_LSB = {"QInt8": 2, "QUInt8": 0}
RUNTIMES_LSB = 2
"""A plain file's scales are not exact between runtimes: see the design."""


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize_static")
    source = save(ort_models.network(), folder / "float.onnx")
    made = {}

    def make(form, activations, weights, per_channel, **options):
        key = (form, activations, weights, per_channel, *sorted(options.items()))
        if key not in made:
            target = folder / f"{len(made)}.onnx"
            made[key] = ort_models.quantized(
                source, target, form, activations, weights, per_channel, **options
            )
        return made[key]

    return make


def difference(conversion, one, other):
    return next(row for row in conversion.differences if {row.one, row.other} == {one, other})


def stored_integers(path):
    """int8 arrays of the file's weights, sorted by their bytes; axes flattened."""
    found = []
    for tensor in onnx.load(path).graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.int8 and array.size > 20:
            found.append(np.sort(array, None).tobytes())
    return sorted(found)


@pytest.mark.parametrize(("form", "activations", "per_channel"), MODES)
def test_every_mode(quantized, tmp_path, form, activations, per_channel):
    source = quantized(form, activations, "QInt8", per_channel)
    conversion = convert(source, tmp_path / "out.tflite")
    assert conversion.source.quantization == form
    assert conversion.source.activations == (activations.removeprefix("Q").lower(),)
    assert conversion.requantized == ()
    left = [entry for entry in conversion.in_float if not entry.by_design]
    assert {entry.operator for entry in left} <= {"Sigmoid", "Softmax"}
    row = difference(conversion, IN_SOURCE, IN_ONNX)
    assert row.max_lsb is not None
    assert round(row.max_lsb) <= SOURCE_LSB[activations]
    assert round(difference(conversion, IN_TFLITE, IN_ONNX).max_lsb) <= RUNTIMES_LSB


@pytest.mark.parametrize(("form", "activations", "per_channel"), MODES)
def test_weights_are_the_same_integers(quantized, tmp_path, form, activations, per_channel):
    source = quantized(form, activations, "QInt8", per_channel)
    convert(source, tmp_path / "out.onnx", Wishes(samples=0))
    assert stored_integers(tmp_path / "out.onnx") == stored_integers(source)


@pytest.mark.parametrize(("form", "activations", "per_channel"), MODES)
def test_the_tflite_has_the_same_scales(quantized, tmp_path, form, activations, per_channel):
    source = quantized(form, activations, "QInt8", per_channel)
    convert(source, tmp_path / "out.tflite", Wishes(samples=0))
    convert(source, tmp_path / "out.onnx", Wishes(samples=0))
    wanted = {
        (float(t.quantization.scale), t.quantization.zero_point - 128)
        for t in read_file(tmp_path / "out.onnx").tensors.values()
        if t.quantization is not None and t.data is None and t.dtype == np.uint8
    }
    found = {
        (float(t.scale[0]), int(t.zero_point))
        for t in read_tflite(tmp_path / "out.tflite").tensors
        if t.scale is not None and t.data is None
    }
    assert wanted
    assert found == wanted


RESULTS = {
    f"results of {operator} get the scale that kernels have" for operator in ("Sigmoid", "Softmax")
} | {
    f"results of {operator} get scales that both runtimes round alike"
    for operator in ("Add", "AveragePool", "GlobalAveragePool", "Mul")
}


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_asymmetric_weights_are_refused(quantized, tmp_path, form):
    source = quantized(form, "QUInt8", "QUInt8", True)
    with pytest.raises(UnsupportedError, match=r"asymmetric uint8|are -128") as caught:
        convert(source, tmp_path / "out.tflite")
    assert "--requantize" in str(caught.value)
    assert not (tmp_path / "out.tflite").exists()


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_asymmetric_weights_are_requantized_on_request(quantized, tmp_path, form, per_channel):
    source = quantized(form, "QUInt8", "QUInt8", per_channel)
    conversion = convert(source, tmp_path / "out.tflite", Wishes(requantize=True))
    weights = [entry for entry in conversion.requantized if entry.what not in RESULTS]
    assert 2 <= len({entry.node for entry in weights}) <= 5
    assert all(entry.detail for entry in conversion.requantized)
    assert difference(conversion, IN_SOURCE, IN_TFLITE).max_lsb < 16
    if not products_saturate():
        assert difference(conversion, IN_SOURCE, IN_ONNX).max_lsb < 16


def test_symmetric_uint8_weights_move_by_a_step_at_most(quantized, tmp_path):
    """Zero point 128 is exact; only a weight of -128, which the quantizer may use, moves.

    And whole channels on request, where their sums saturate on some CPUs.
    """
    source = quantized("QDQ", "QUInt8", "QUInt8", False, WeightSymmetric=True)
    conversion = convert(source, tmp_path / "out.tflite", Wishes(requantize=True))
    assert {entry.what for entry in conversion.requantized} <= RESULTS | {
        "weights of -128 become -127",
        "weights whose sums saturate on some CPUs are quantized anew",
        "biases are rounded to input scale * weight scale",
    }
    assert conversion.saturating == ()
    assert any("zero point 128" in entry.what for entry in conversion.rewrites) or (
        conversion.requantized
    )


@pytest.mark.parametrize("suffix", [".onnx", ".ort"])
def test_other_targets(quantized, tmp_path, suffix):
    source = quantized("QDQ", "QUInt8", "QInt8", True)
    target = tmp_path / f"out{suffix}"
    conversion = convert(source, target)
    assert target.stat().st_size == conversion.bytes > 0
    assert len(conversion.differences) == 3


def test_symmetric_activations_and_contributed_operators(quantized, tmp_path):
    source = quantized(
        "QDQ", "QInt8", "QInt8", True, ActivationSymmetric=True, UseQDQContribOps=True
    )
    assert {n.domain for n in onnx.load(source).graph.node if "Linear" in n.op_type} == {
        "com.microsoft"
    }
    conversion = convert(source, tmp_path / "out.tflite")
    assert conversion.requantized == ()
    assert round(difference(conversion, IN_TFLITE, IN_ONNX).max_lsb) <= RUNTIMES_LSB


def test_dynamic_quantization_is_refused(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    source = save(ort_models.network(), tmp_path / "float.onnx")
    quantize_dynamic(source, tmp_path / "dynamic.onnx")
    with pytest.raises(UnsupportedError, match="while the model runs") as caught:
        convert(tmp_path / "dynamic.onnx", tmp_path / "out.tflite")
    assert "quantize_static" in str(caught.value)


def test_an_axis_before_its_opset_means_what_it_means_since(tmp_path):
    """quantize_static writes `axis`, which opset 13 brought, into models of opset 11, too."""
    found = {}
    for opset in (11, 13):
        folder = tmp_path / str(opset)
        folder.mkdir()
        source = save(small(opset=opset, batch=1), folder / "float.onnx")
        made = folder / "qdq.onnx"
        quantize_static(
            source,
            made,
            ort_models.Samples("x", (1, 3, 8, 8)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        axes = sum(a.name == "axis" for n in onnx.load(made).graph.node for a in n.attribute)
        conversion = convert(made, folder / "out.tflite", Wishes(samples=0))
        told = sum(entry.count for entry in conversion.rewrites if "axis" in entry.what)
        tensors = read_tflite(folder / "out.tflite").tensors
        scales = [None if t.scale is None else tuple(t.scale) for t in tensors]
        found[opset] = axes, told, scales
    assert found[11][0] == found[11][1] == found[13][0] > 0
    assert found[13][1] == 0
    assert found[11][2] == found[13][2]
