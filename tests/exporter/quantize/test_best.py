from __future__ import annotations

from functools import partial

import networks
import numpy as np
import outliers
import pytest
import torch

from exporter.errors import RecipeError
from exporter.inputs import InputSpec
from exporter.ptq import Ptq, describe
from exporter.quantize.float_layers import weights_by_layer
from exporter.quantize.lockstep import decibels, outputs
from exporter.quantize.quantize import Calibration, prepare_module
from exporter.quantize.samples import Samples
from exporter.recipe import export_recipe

SPEC = InputSpec((1, *outliers.SAMPLE), "float32")
SAMPLES = outliers.inputs(96, 1)
JUDGED = [outliers.inputs(64, 9)]


@pytest.fixture(scope="module")
def best():
    found = prepare_module(
        outliers.network(), SPEC, SAMPLES.split(16), calibration=Calibration("best")
    ).best
    assert found is not None
    return found


def test_best_keeps_the_trial_with_the_smallest_error(best):
    names = [trial.name for trial in best.trials]
    assert names[:3] == [
        "min/max, biases corrected",
        "equalized, strength 0.5",
        "equalized, strength 0.75",
    ]
    assert "weights rounded anew" in names
    assert best.output_db >= max(trial.output_db for trial in best.trials) - 0.03
    assert best.output_db == pytest.approx(
        decibels(outputs(best.real, best.judging), outputs(best.prepared, best.judging)), abs=1e-3
    )


def test_best_is_better_than_min_max_on_inputs_that_it_never_saw(best):
    plain = prepare_module(outliers.network(), SPEC, SAMPLES.split(16)).graph_module
    expected = outputs(best.real, JUDGED)
    found, before = (decibels(expected, outputs(g, JUDGED)) for g in (best.prepared, plain))
    assert best.strength > 0
    assert found > before + 3.0


def test_best_leaves_the_function_as_it_was(best):
    module = outliers.network()
    with torch.no_grad():
        expected = module(JUDGED[0])
    assert torch.allclose(outputs(best.real, JUDGED)[0], expected, rtol=1e-3, atol=1e-5)


def test_what_was_chosen_is_written_for_every_value_the_worst_first(best):
    document = describe(best)
    layers = set(weights_by_layer(best.real))
    assert {layer.name for layer in document.layers if layer.name == layer.layer} >= layers
    others = {layer.name for layer in document.layers} - layers
    assert others <= {node.name for node in best.plan.group_of}
    assert len(document.layers) == len(best.plan.group_of)
    isolated = [layer.isolated_db for layer in document.layers if layer.isolated_db is not None]
    assert isolated == sorted(isolated)
    assert {layer.range for layer in document.layers} <= {"minmax", "percentile", "mse", "kl"}
    assert document.judging_samples == 24
    assert document.fitting_samples == 72
    assert Ptq.model_validate_json(document.model_dump_json()) == document
    assert document.table().row_count > len(document.trials)


@pytest.mark.parametrize(
    "calibration",
    [Calibration("best"), Calibration("mse", equalize=True, rounding=True, biases=True)],
    ids=["best", "all"],
)
def test_both_runtimes_still_give_one_answer(calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(
        networks, "prepare_module", partial(prepare_module, calibration=calibration)
    )
    made = networks.make(networks.network(), tmp_path)
    frames = networks.frames(16, seed=7).numpy()
    from_tflite = networks.run_tflite(made.tflite, frames)
    from_onnx = networks.run_onnx(made.onnx, frames)
    assert np.array_equal(from_tflite.astype(int) + 128, from_onnx)


def test_unknown_methods_are_refused_with_those_there_are():
    with pytest.raises(RecipeError, match=r"ptq.*'minmax', 'percentile', 'mse', 'kl' or 'best'"):
        export_recipe(
            {"factory": "a:b"},
            {"shape": "1x3x8x8", "mean": "", "std": ""},
            {"calibration": "a:b"},
            "net",
            {"ptq": "entropy"},
        )


@pytest.mark.parametrize(("count", "leave", "sizes"), [(5, 3, (5, 3)), (50, 24, (15, 5))])
def test_samples_picked_to_fit_and_to_judge_are_not_the_same(count, leave, sizes):
    data = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, *outliers.SAMPLE).contiguous()
    samples = Samples(SPEC, data.split(7))
    assert torch.equal(torch.cat(list(samples)), data)
    first, second = (torch.cat(part)[:, 0, 0, 0] for part in samples.pick(count, leave=leave))
    assert (len(first), len(second)) == sizes
    assert len({*first.tolist(), *second.tolist()}) == sum(sizes)
    assert torch.equal(torch.cat(list(samples)), data)


def test_samples_that_there_are_none_of_are_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        Samples(SPEC, []).pick(4)
