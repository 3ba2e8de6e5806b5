from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack.encode import encode
from exporter.quantize.compact import BIAS_PARTS, bias_units, coarsen_biases
from exporter.quantize.quantize import prepare_module
from exporter.quantize.scheme import SCALE_BITS, short_scale, weight_scale


@settings(deadline=None)
@given(st.lists(st.floats(2.0**-40, 2.0**10, width=32), min_size=1, max_size=20))
def test_a_short_scale_is_near_and_short(values):
    scale = torch.tensor(values, dtype=torch.float32)
    nearest, above = short_scale(scale, up=False), short_scale(scale, up=True)
    assert bool(((nearest / scale - 1).abs() <= 2.0**-SCALE_BITS).all())
    assert bool((above >= scale).all())
    assert bool((above / scale - 1 < 2.0 ** (1 - SCALE_BITS)).all())
    for short in (nearest, above):
        mantissa, _ = torch.frexp(short)
        assert torch.equal(mantissa * 2**SCALE_BITS, torch.round(mantissa * 2**SCALE_BITS))
        assert torch.equal(short_scale(short, up=True), short)


def test_what_a_scale_covers_stays_covered():
    weight = torch.randn(16, 8, 3, 3)
    scale = short_scale(weight_scale(weight, pair_rule=True), up=True)
    assert bool((weight.abs().amax((1, 2, 3)) <= 127.5 * scale).all())


def test_bias_steps_are_below_the_output_step():
    scale = torch.tensor([1e-4, 3e-3, 0.5])
    units = bias_units(0.02, scale, 0.05)
    own = scale.double() * 0.02
    powers = torch.log2(units / own)
    assert torch.allclose(powers, torch.round(powers), atol=1e-5)
    assert bool((units[:2] <= 0.05 / BIAS_PARTS).all())
    assert bool((units[:2] * 2 > 0.05 / BIAS_PARTS).all())
    assert float(powers[2]) == pytest.approx(0.0, abs=1e-5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The test network with long scales and fine biases."""
    folder = tmp_path_factory.mktemp("plain")
    return networks.make(networks.network(), folder, small_parts=False)


def test_the_package_is_smaller(made, plain):
    small, large = (len(encode(m.tflite.read_bytes(), "n.tflite")[0]) for m in (made, plain))
    channels = 16 + 16 + 16 + 8 + 7
    assert small < large - 1.5 * channels


def test_outputs_stay(made, plain):
    inputs = networks.frames(16, seed=5).numpy()
    small, large = (networks.run_onnx(m.onnx, inputs).astype(int) for m in (made, plain))
    step = [float(m.graph.tensors[m.graph.outputs[0]].quantization.scale) for m in (made, plain)]
    difference = np.abs((small - 128) * step[0] - (large - 128) * step[1])
    assert difference.max() <= 3 * step[1]


def test_runtimes_agree_bit_for_bit(made):
    inputs = networks.frames(16, seed=5).numpy()
    onnx = networks.run_onnx(made.onnx, inputs).astype(int) - 128
    assert np.array_equal(onnx, networks.run_tflite(made.tflite, inputs).astype(int))


@pytest.mark.parametrize("form", ["tflite", "qdq"])
def test_the_files_hold_short_scales_and_coarse_biases(made, plain, form):
    from exporter.graph.read import read_file
    from exporter.tflite.reader import read_tflite

    found = []
    for one in (made, plain):
        if form == "tflite":
            tensors = read_tflite(one.tflite).tensors
            scales = [t.scale for t in tensors if "weight" in t.name and t.scale is not None]
            biases = [t.data for t in tensors if t.dtype == np.int32 and "bias" in t.name]
        else:
            graph = read_file(one.qdq)
            kept = [t for t in graph.tensors.values() if t.data is not None and t.quantization]
            scales = [t.quantization.scale for t in kept if "weight" in t.name]
            biases = [t.data for t in kept if t.dtype == np.int32]
        assert len(scales) == len(biases) == 5
        mantissas = np.frexp(np.concatenate(scales).astype(np.float64))[0] * 2**SCALE_BITS
        even = np.concatenate(biases) % 2 == 0
        found.append((float((mantissas == np.rint(mantissas)).mean()), float(even.mean())))
    assert found[0] == (1.0, pytest.approx(1.0, abs=0.4))
    assert found[1][0] < 0.2
    assert found[0][1] > found[1][1] + 0.1


def test_rounding_biases_twice_is_rounding_once():
    module = networks.network()
    prepared = prepare_module(module, networks.SPEC, [networks.frames(8)]).graph_module
    names = [name for name, _ in prepared.named_parameters() if "bias" in name]
    before = {name: prepared.get_parameter(name).clone() for name in names}
    assert coarsen_biases(prepared) == 5
    once = {name: prepared.get_parameter(name).clone() for name in names}
    assert coarsen_biases(prepared) == 5
    for name in names:
        assert torch.equal(prepared.get_parameter(name), once[name])
    assert any(not torch.equal(before[name], once[name]) for name in names)
