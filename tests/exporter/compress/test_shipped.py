"""What was pruned and shared in the module is so in the files: their integers are looked at."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from integers import weights_of

from exporter.compress import Compressor, Levels, Plan, Ramp, compress

EXEMPT = "stem"
CASES = {
    "global": (Plan((Ramp(0.8, 0),), exempt=(EXEMPT,)), Levels()),
    "2:4 kmeans": (Plan((Ramp(0.5, 0),), "2:4", exempt=(EXEMPT,)), Levels("kmeans", codes=6)),
    "erk": (Plan((Ramp(0.7, 0),), "erk", exempt=(EXEMPT,)), None),
}


@pytest.fixture(scope="module", params=CASES)
def shipped(request, tmp_path_factory):
    """A plan, the levels, the compressor and the files of the small network."""
    plan, levels = CASES[request.param]
    module = networks.network()
    compressor = compress(module, plan)
    compressor.prune(plan.sparsity)
    if levels is not None:
        compressor.share(levels)
    grids = compressor.finish()
    made = networks.make(module, tmp_path_factory.mktemp("shipped"), grids=grids)
    return plan, levels, compressor, made


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_the_sparsity_is_in_the_file(shipped, form):
    plan, _, compressor, made = shipped
    pruned = [data for name, data in weights_of(made, form) if EXEMPT not in name]
    assert len(pruned) == 4
    zeros = sum(int((data == 0).sum()) for data in pruned) / sum(data.size for data in pruned)
    # Rounding adds zeros; it never takes any away.
    assert zeros >= compressor_sparsity(compressor) - 1e-9
    assert zeros >= plan.sparsity - (0.05 if ":" in plan.criterion else 0.01)


def compressor_sparsity(compressor: Compressor) -> float:
    weights = compressor.model.state_dict()
    names = [f"{name}.weight" for name in ("conv", "depthwise", "point", "fc")]
    zeros = sum(int((weights[name] == 0).sum()) for name in names)
    return zeros / sum(weights[name].numel() for name in names)


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_exempt_layers_keep_their_weights(shipped, form):
    _, _, _, made = shipped
    (stem,) = [data for name, data in weights_of(made, form) if EXEMPT in name]
    assert (stem == 0).mean() < 0.1


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_the_levels_are_in_the_file(shipped, form):
    _, levels, _, made = shipped
    for name, data in weights_of(made, form):
        if levels is None or EXEMPT in name:
            continue
        magnitudes = np.unique(np.abs(data))
        if levels.kind == "kmeans":
            # Batch norm's factors change signs, by channel; the code book keeps its magnitudes.
            assert len(magnitudes) <= levels.codes + 1, name
        else:
            assert magnitudes.max() <= 64, name
            assert len(magnitudes) <= 20, name


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_patterns_hold_in_the_file(shipped, form):
    plan, _, _, made = shipped
    fullest = []
    for name, data in weights_of(made, form):
        if EXEMPT in name or "depthwise" in name:
            continue
        whole = data.shape[-1] // 4 * 4
        groups = data[..., :whole].reshape(*data.shape[:-1], -1, 4)
        fullest.append(int((groups != 0).sum(-1).max()))
    assert len(fullest) == 3
    assert (max(fullest) <= 2) == (plan.criterion == "2:4")


def test_both_files_give_the_same_integers(shipped):
    _, _, _, made = shipped
    inputs = networks.frames(8, seed=3).numpy()
    onnx = networks.run_onnx(made.onnx, inputs)
    tflite = networks.run_tflite(made.tflite, inputs)
    assert np.array_equal(onnx.astype(np.int32) - 128, tflite.astype(np.int32))


def test_an_all_zero_channel_and_layer_ship(tmp_path):
    module = networks.network()
    with torch.no_grad():
        module.conv.weight[3:5] = 0
        module.point.weight.zero_()
    compressor = compress(module)
    compressor.prune(0.5)
    compressor.share()
    made = networks.make(module, tmp_path, grids=compressor.finish())
    inputs = networks.frames(8, seed=3).numpy()
    onnx = networks.run_onnx(made.onnx, inputs)
    tflite = networks.run_tflite(made.tflite, inputs)
    assert np.array_equal(onnx.astype(np.int32) - 128, tflite.astype(np.int32))
    dead = dict(weights_of(made, "tflite"))
    assert not any(data.any() for name, data in dead.items() if "point" in name)
