"""Several outputs, their names, signatures and labels."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from torch import nn

from exporter.errors import RecipeError
from exporter.onnx_export import to_onnx
from exporter.quantize.quantize import folded


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        features = torch.relu(self.stem(x))
        return self.boxes(features), self.scores(features).sigmoid()


def exported(names):
    torch.manual_seed(0)
    network = folded(Heads().eval(), networks.SPEC)
    return to_onnx(network, torch.zeros((2, *networks.SPEC.shape[1:])), "heads", names)


def test_outputs_have_the_names_that_were_given():
    assert [value.name for value in exported(("boxes", "scores")).graph.outputs] == [
        "boxes",
        "scores",
    ]


def test_outputs_are_numbered_without_names():
    assert [value.name for value in exported(()).graph.outputs] == ["output_0", "output_1"]


def test_another_number_of_names_is_refused():
    with pytest.raises(RecipeError, match="2 names"):
        exported(("boxes",))


def test_the_signature_calls_tensors_by_their_names(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    torch.manual_seed(0)
    made = networks.make(Heads().eval(), tmp_path)
    interpreter = Interpreter(str(made.tflite))
    runner = interpreter.get_signature_runner("serving_default")
    frames = networks.frames(1).numpy()
    outputs = runner(input=frames)
    direct = networks.run_tflite_all(made.tflite, frames)
    assert set(outputs) == {"output_0", "output_1"}
    for index, expected in enumerate(direct):
        assert np.array_equal(outputs[f"output_{index}"], expected)
    for one, other in zip(direct, networks.run_onnx_all(made.onnx, frames), strict=True):
        assert np.array_equal(one.transpose(0, 3, 1, 2).astype(int) + 128, other)
