"""Hostile files ask for terabytes: they are refused before memory is taken for them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import GROWING, growing, model, save, small, value

MANY = 24
AT_ONCE = 2**25
ALLOWED_BYTES = 1_500_000_000
"""What filled shapes may come to in all (2^28 float values), and something to work with."""

SCRIPT = """
import json, resource, sys
from pathlib import Path
from exporter.convert import Wishes, convert
from exporter.errors import EdgewrightError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

folder, found = Path(sys.argv[1]), {}
convert(folder / "good.onnx", folder / "out.tflite", Wishes(samples=0))
start = peak()
for path in sorted(folder.glob("bad-*.onnx")):
    try:
        convert(path, folder / "bad.tflite", Wishes(samples=0))
        found[path.stem] = ["converted", peak() - start]
    except EdgewrightError as error:
        found[path.stem] = [str(error), peak() - start]
print(json.dumps(found))
"""


def filled_often():
    """Many filled shapes, each of which would be taken alone."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], [f"c{i}"], f"fill{i}") for i in range(MANY)
    ]
    nodes += [
        helper.make_node("ReduceMax", [f"c{i}"], [f"m{i}"], f"most{i}", keepdims=0)
        for i in range(MANY)
    ]
    nodes.append(helper.make_node("Sum", ["x", *(f"m{i}" for i in range(MANY))], ["y"], "sum"))
    constants = {"size": np.array([AT_ONCE], np.int64)}
    return model(nodes, [value("x", [1, 4])], [value("y", None)], constants)


def doubled():
    """A constant that is joined with itself again and again."""
    nodes = [
        helper.make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], f"join{i}", axis=0)
        for i in range(40)
    ]
    nodes.append(helper.make_node("ReduceMax", ["c40"], ["most"], "most", keepdims=0))
    nodes.append(helper.make_node("Add", ["x", "most"], ["y"], "add"))
    return model(nodes, [value("x", [1, 4])], [value("y", None)], {"c0": np.ones(1024, "f4")})


def empty_but_large():
    """A weight whose sizes are huge and whose values are not there."""
    made = small()
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].dims[0] = 2**40
    return made


def beside_a_hole():
    """A weight in a file of terabytes, of which nothing is written."""
    made = small()
    tensor = made.graph.initializer[2]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.dims[0] = 2**34
    tensor.external_data.add(key="location", value="hole.bin")
    return made


BAD = {
    **{kind: (lambda kind=kind: growing(kind)) for kind in GROWING},
    "filled-often": filled_often,
    "doubled": doubled,
    "empty-but-large": empty_but_large,
    "beside-a-hole": beside_a_hole,
    "input": lambda: model(
        [helper.make_node("Relu", ["x"], ["y"], "relu")],
        [value("x", [1, 3, 2**20, 2**20])],
        [value("y", None)],
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one process says of every bad model, and how its memory grew."""
    folder = tmp_path_factory.mktemp("hostile")
    save(small(), folder / "good.onnx")
    with (folder / "hole.bin").open("wb") as hole:
        hole.truncate(2**42)
    for name, make in BAD.items():
        save(make(), folder / f"bad-{name}.onnx")
    argv = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / "bad.tflite").exists()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_in_little_memory(answers, name):
    text, grown = answers[f"bad-{name}"]
    assert text != "converted"
    assert not any(words in text for words in ("Unable to allocate", "MemoryError", "bad_alloc"))
    assert grown < ALLOWED_BYTES, f"{grown / 1e6:.0f} MB more for: {text}"
