"""Mixed precision: layers whose results stay int16 in a network of int8 values."""

from __future__ import annotations

from collections import Counter

import networks
import numpy as np
import pytest
import torch
from torch import nn

from exporter.errors import RecipeError
from exporter.graph import integer
from exporter.graph.canonical import violations
from exporter.graph.read import read_file
from exporter.quantize.quantize import Calibration, prepare_module
from exporter.recipe import export_recipe, layers_named
from exporter.tflite.reader import read_tflite
from exporter.verify import scales, structure

FRAMES = networks.frames(24, seed=5).numpy()


class Branches(nn.Module):
    """A residual and a join behind a convolution, and a dense layer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.side, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.body(x) + x)
        return self.fc(torch.cat([x, self.side(x)], 1).mean((2, 3)))


class Outlying(nn.Module):
    """One channel of `body` is far larger than the others, and what comes next leaves it out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 1)
        self.side, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)
        with torch.no_grad():
            self.body.weight[0] *= 60.0
            self.side.weight[:, 0] = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.side(self.body(torch.relu(self.stem(x)))).mean((2, 3)))


def network(make: type[nn.Module] = Branches) -> nn.Module:
    torch.manual_seed(3)
    return make().eval()


CHOICES = {"in the middle": ("body",), "before a join": ("side",), "at the end": ("fc",)}


@pytest.fixture(scope="module", params=CHOICES.values(), ids=CHOICES)
def mixed(request, tmp_path_factory):
    calibration = Calibration(int16_layers=request.param)
    folder = tmp_path_factory.mktemp("wide")
    return request.param, networks.make(network(), folder, calibration=calibration)


def int16_values(graph):
    return {name for name, tensor in graph.tensors.items() if tensor.dtype == np.int16}


def test_these_results_are_int16_in_both_files_and_the_others_int8(mixed):
    (name,), made = mixed
    graph = read_file(made.qdq)
    layer = next(
        o for o in graph.operators if any(i.startswith(f"{name}_weight") for i in o.inputs)
    )
    assert graph.tensors[layer.outputs[0]].dtype == np.int16
    kinds = Counter(tensor.dtype.name for tensor in read_tflite(made.tflite).tensors)
    assert kinds["int16"] == len(int16_values(graph))
    assert 0 < kinds["int16"] < 6
    assert graph.tensors[graph.outputs[0]].dtype == (np.int16 if name == "fc" else np.int8)


def test_an_operator_computes_in_one_of_the_two(mixed):
    _, made = mixed
    graph = read_file(made.qdq)
    assert not violations(graph)
    changed = next(o for o in graph.operators if o.kind in ("Conv", "Gemm") and graph.in_int16(o))
    graph.tensors[changed.outputs[0]].dtype = np.dtype(np.int8)
    assert any("mixes int8 and int16" in text for text in violations(graph))


def test_files_and_reference_are_within_a_step(mixed):
    _, made = mixed
    graph = read_file(made.qdq)
    wide = graph.tensors[graph.outputs[0]].dtype == np.int16
    shift = 0 if wide else 128
    from_tflite = networks.run_tflite(made.tflite, FRAMES).astype(int)
    from_onnx = networks.run_onnx(made.onnx, FRAMES).astype(int) - shift
    reference = integer.run(made.graph, [FRAMES])[made.graph.outputs[0]].astype(int)
    # An int8 value before the last layer that is rounded the other way is 127 steps of int16.
    bound = 127 if wide else 1
    for found in (from_tflite, from_onnx):
        assert np.abs(found - reference).max() <= bound


def test_the_certificates_checks_know_them(mixed):
    _, made = mixed
    graph, file = read_file(made.qdq), read_tflite(made.tflite)
    assert structure.no_float_tensors(graph, file).passed
    assert structure.integer_kernels(graph, made.onnx).passed
    assert structure.pair_rule(graph).passed
    assert structure.requantization_ratios(graph).passed
    assert scales.compare_tflite(graph, file).passed
    assert scales.compare_onnx(graph, read_file(made.onnx), ".onnx").passed


def test_what_int8_becomes_int16_is_exact_and_comes_back(mixed):
    """The int16 step is 1 / 127 of the int8 step that stands beside it."""
    _, made = mixed
    graph = read_file(made.qdq)
    ratios = []
    for operator in graph.operators:
        if operator.kind != "Quantize" or operator.inputs[0] in graph.inputs:
            continue
        ends = [graph.tensors[n] for n in (operator.inputs[0], operator.outputs[0])]
        steps = {tensor.dtype.name: tensor.quantization.scale for tensor in ends}
        ratios.append(float(steps["int8"]) / float(steps["int16"]))
    assert ratios
    np.testing.assert_allclose(ratios, 127, rtol=1e-6)


def error_db(calibration: Calibration) -> float:
    module = network(Outlying)
    prepared = prepare_module(
        module, networks.SPEC, [networks.frames(32)], calibration=calibration
    ).graph_module
    frames = networks.frames(64, seed=9)
    with torch.no_grad():
        real = module(networks.SPEC.to_model(frames))
        found = prepared(networks.SPEC.to_graph(frames))
    return float(10 * torch.log10(real.square().sum() / (found - real).square().sum()))


def test_the_layer_that_costs_most_is_found_and_gains():
    plain, chosen = error_db(Calibration()), error_db(Calibration(int16_layers="auto:1"))
    assert chosen > plain + 3.0
    assert chosen == error_db(Calibration(int16_layers=("body",)))


def test_patterns_name_layers():
    both = error_db(Calibration(int16_layers=("*d*",)))  # body and side
    assert both == error_db(Calibration(int16_layers=("body", "side")))


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (Calibration(int16_layers=("nothing",)), "int16_layers names 'nothing'"),
        (Calibration(int16_layers=("fc",), float_layers=("fc",)), "both hold fc.weight"),
    ],
)
def test_layers_that_cannot_be_meant_are_refused(calibration, message):
    with pytest.raises(RecipeError, match=message):
        error_db(calibration)


def test_a_network_of_int16_has_no_int16_layers():
    with pytest.raises(
        RecipeError, match=r"int16_layers is for a network of int8(.|\n)*every layer"
    ):
        export_recipe(
            {"factory": "a:b"},
            {"shape": "1x3x8x8", "mean": "", "std": ""},
            {"calibration": "a:b"},
            "net",
            {"activations": "int16", "int16_layers": ["fc"]},
        )


def test_names_of_the_option_are_parted_by_commas():
    assert layers_named("a.b, c") == ("a.b", "c")
    assert layers_named("auto:2") == "auto:2"
