from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporter.commands.operators import ops
from exporter.convert import Wishes, convert
from exporter.graph.normalize import REWRITTEN
from exporter.operators import onnx_rows, torch_rows
from exporter.progress import Bars
from exporter.terminal import console, print_layers
from exporter.tflite.registry import kinds
from exporter.verify.layers import LayerError


def test_every_lowering_has_a_row_that_says_what_it_lowers():
    rows = onnx_rows()
    assert tuple(row.kind for row in rows if row.form != "rewritten") == kinds()
    assert all(row.meaning and (row.file or row.form == "rewritten") for row in rows)
    forms = {row.kind: row.form for row in rows}
    assert forms["Conv"] == "integers"
    assert forms["HardSwish"] == "float island"
    assert forms["Mish"] == "table"
    assert forms["Concat"] == "moves values"


def test_what_is_rewritten_is_converted(tmp_path):
    """One model of them all; opset 9 has Upsample, and group norm came later."""
    numbers = {name: np.full(4, 0.5, np.float32) for name in ("a", "b", "c", "d")}
    numbers["scales"] = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        ("BatchNormalization", ["x", "a", "b", "c", "d"], {}),
        ("Dropout", ["0"], {}),
        ("Identity", ["1"], {}),
        ("Upsample", ["2", "scales"], {"mode": "nearest"}),
        ("Sum", ["3", "3", "3"], {}),
        ("Shape", ["4"], {}),
        ("Reshape", ["4", "5"], {}),
        ("Constant", [], {"value": numpy_helper.from_array(np.float32(2))}),
        ("Mul", ["6", "7"], {}),
        ("GlobalMaxPool", ["8"], {}),
    ]
    factors = {"a": numbers["a"], "b": numbers["b"]}
    groups = [("GroupNormalization", ["x", "a", "b"], {"num_groups": 2})]
    for opset, listed, given in ((9, nodes, numbers), (21, groups, factors)):
        graph = helper.make_graph(
            [helper.make_node(k, i, [str(n)], **a) for n, (k, i, a) in enumerate(listed)],
            "rewritten",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
            [helper.make_tensor_value_info(str(len(listed) - 1), TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in given.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        onnx.save(model, tmp_path / "m.onnx")
        convert(tmp_path / "m.onnx", tmp_path / "m.tflite", Wishes(samples=2))
    assert {kind for kind, _, _ in nodes + groups} >= set(REWRITTEN)


def test_pytorchs_operators_have_one_role_each():
    rows = torch_rows()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    roles = {row.name: row.role for row in rows}
    assert roles["aten.conv2d"] == "compute"
    assert roles["aten.silu"] == "rewritten"


def test_the_command_prints_them_for_machines():
    command = [sys.executable, "-m", "exporter.cli", "ops", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert {row["kind"] for row in document["onnx"]} == set(kinds()) | set(REWRITTEN)
    assert document["pytorch"]


def test_the_command_prints_every_row_as_it_is(capsys):
    ops()
    printed = without_spaces(capsys.readouterr().out)  # a long row is wrapped
    for row in onnx_rows():
        assert without_spaces(row.kind + row.form + row.meaning) in printed
    for torch in torch_rows():
        assert without_spaces(torch.name + torch.role) in printed


def without_spaces(text):
    return "".join(text.split())


def test_names_with_brackets_are_printed_whole(capsys):
    print_layers([LayerError("x[b]", "Conv", "conv[0]", None, None, None)])
    Bars(console()).warn("'y[bold]' is left")
    printed = capsys.readouterr().out
    assert "conv[0]" in printed
    assert "warning: 'y[bold]' is left" in printed
