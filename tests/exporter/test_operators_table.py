from __future__ import annotations

import json
import subprocess
import sys

from exporter.commands.operators import ops
from exporter.operators import onnx_rows, torch_rows
from exporter.progress import Bars
from exporter.terminal import console, print_layers
from exporter.tflite.registry import kinds
from exporter.verify.layers import LayerError


def test_every_lowering_has_a_row_that_says_what_it_lowers():
    rows = onnx_rows()
    assert tuple(row.kind for row in rows) == kinds()
    assert all(row.meaning and row.file for row in rows)
    forms = {row.kind: row.form for row in rows}
    assert forms["Conv"] == "integers"
    assert forms["HardSwish"] == "float island"
    assert forms["Mish"] == "table"
    assert forms["Concat"] == "moves values"


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
    assert {row["kind"] for row in document["onnx"]} == set(kinds())
    assert document["pytorch"]


def test_the_command_prints_every_row_as_it_is(capsys):
    ops()
    printed = without_spaces(capsys.readouterr().out)  # a long row is wrapped
    for onnx in onnx_rows():
        assert without_spaces(onnx.kind + onnx.form + onnx.meaning) in printed
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
