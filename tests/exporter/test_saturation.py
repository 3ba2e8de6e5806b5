"""Which weights are neighbours where ONNX Runtime adds products in pairs, within 16 bits.

`exporter.graph.pairs` says: those that follow each other along the input channels. Here weights
that keep its rule, and are large neighbours in every other sense, give exact convolutions of all
shapes: on this CPU, and on one that has AVX2 without VNNI, where full-range weights saturate.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import EmulationError
from exporter.graph.pairs import PAIR_MAX
from exporter.quantize.scheme import limit_pairs
from exporter.verify import cpus

RUN = """
import json, sys
import numpy as np, onnxruntime
counts = {}
for name in sys.argv[2:]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    path = f"{sys.argv[1]}/{name}"
    session = onnxruntime.InferenceSession(f"{path}.onnx", options)
    arrays = np.load(f"{path}.npz")
    counts[name] = int((session.run(None, {"x": arrays["x"]})[0] != arrays["y"]).sum())
print(json.dumps(counts))
"""
CASES = {
    "plain": {},
    "odd channels": {"channels": 15},
    "three channels": {"channels": 3},
    "one row": {"kernel": (1, 3)},
    "one column": {"kernel": (3, 1)},
    "five by five": {"kernel": (5, 5), "channels": 6},
    "stride": {"stride": 2, "channels": 32},
    "dilated": {"dilation": 2},
    "groups": {"groups": 4, "channels": 32},
    "odd groups": {"groups": 3, "channels": 15, "out": 12},
    "one axis": {"kernel": (1, 5), "one_axis": True},
    "wide": {"channels": 64, "out": 64},
}
SHIFT = 12


def weights(*, channels=16, out=24, kernel=(3, 3), groups=1, **_) -> np.ndarray:
    """Full-range weights [out, channels / groups, kh, kw]."""
    random = np.random.default_rng(channels * out)
    return random.choice([-127, 127, 100, -90, 60], (out, channels // groups, *kernel))


def exact(x, weight, *, stride=1, dilation=1, groups=1, **_) -> np.ndarray:
    """The convolution without padding, in integers, as uint8 around 128."""
    rows, columns = (x.shape[i] - dilation * (weight.shape[i] - 1) for i in (2, 3))
    total = 0
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            top, left = i * dilation, j * dilation
            seen = x[:, :, top : top + rows : stride, left : left + columns : stride]
            parts = zip(
                np.split(seen, groups, 1), np.split(weight[:, :, i, j], groups), strict=True
            )
            sums = [np.einsum("nchw,oc->nohw", s.astype(float), w.astype(float)) for s, w in parts]
            total = total + np.concatenate(sums, 1)
    return np.clip(np.rint(total / 2**SHIFT) + 128, 0, 255).astype(np.uint8)


def write(folder, name, weight, *, stride=1, dilation=1, groups=1, one_axis=False, **_) -> None:
    """A model of one QLinearConv, its input and what it must give."""
    shape = (2, weight.shape[1] * groups, 1 if one_axis else 13, 11)
    x = np.random.default_rng(1).integers(150, 256, shape)
    y = exact(x, weight, stride=stride, dilation=dilation, groups=groups)
    assert len(np.unique(y)) > 20
    if one_axis:
        x, y, weight = x[:, :, 0], y[:, :, 0], weight[:, :, 0]
    out, axes = len(weight), weight.ndim - 2
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "w": weight.astype(np.int8),
        "scales": np.ones(out, np.float32),
        "zeros": np.zeros(out, np.int8),
        "scale": np.float32(2**SHIFT),
        "middle": np.uint8(128),
    }
    node = helper.make_node(
        "QLinearConv",
        ["x", "one", "zero", "w", "scales", "zeros", "scale", "middle"],
        ["y"],
        strides=[stride] * axes,
        dilations=[dilation] * axes,
        group=groups,
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / f"{name}.onnx")
    np.savez(folder / f"{name}.npz", x=x.astype(np.uint8), y=y)


def in_rows(weight: np.ndarray) -> int:
    """The largest sum of two neighbours of one sign within a row of the window."""
    pairs = weight[..., :-1] + weight[..., 1:]
    return int(np.abs(pairs).max(initial=0))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models: one for each case that keeps the rule, and one that does not."""
    folder = tmp_path_factory.mktemp("saturation")
    write(folder, "full range", weights())
    for name, case in CASES.items():
        kept = limit_pairs(torch.from_numpy(weights(**case)).float()).numpy().astype(int)
        assert kept.shape[3] == 1 or in_rows(kept) > 1.5 * PAIR_MAX
        write(folder, name, kept, **case)
    return folder


def differing(models, command) -> dict[str, int]:
    """How many values of each model are not exact, as run by a command."""
    argv = [*command, "-c", RUN, str(models), "full range", *CASES]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_rule_is_enough_on_this_cpu(models):
    found = differing(models, [sys.executable])
    assert {name: found[name] for name in CASES} == dict.fromkeys(CASES, 0)


def test_the_rule_is_enough_and_needed_where_sums_saturate(models):
    try:
        command = cpus.this_python_on(*cpus.cpus_named(["Haswell"]))
    except EmulationError as error:
        pytest.skip(f"NOT TESTED: {' '.join(str(error).split())}")
    found = differing(models, command)
    assert {name: found[name] for name in CASES} == dict.fromkeys(CASES, 0)
    assert found["full range"] > 0
