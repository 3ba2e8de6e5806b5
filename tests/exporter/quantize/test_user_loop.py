"""QAT in a user's own loop: any optimizer, AMP, DDP; and the same numbers behind `finish`."""

from __future__ import annotations

import gc
import subprocess
import sys

import networks
import numpy as np
import pytest
import torch
from torch import nn

import exporter
from exporter import prepare_qat
from exporter.compress import Levels, Plan, compress
from exporter.errors import RecipeError, UnsupportedError
from exporter.graph.read import read_file

LABELS = torch.arange(8) % 7


def step(qat, optimizer, *, module=None, samples=None) -> float:
    samples = networks.frames(8) if samples is None else samples
    outputs = (module or qat.module)(qat.inputs(samples))
    loss = nn.functional.cross_entropy(outputs, LABELS)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.fixture
def qat():
    return prepare_qat(networks.network(), networks.SPEC, [networks.frames(16)])


def test_the_numbers_are_the_same_behind_finish(qat, tmp_path):
    optimizer = torch.optim.AdamW(qat.module.parameters(), 1e-3)
    losses = [step(qat, optimizer) for _ in range(10)]
    assert losses[-1] < losses[0]
    inputs = qat.inputs(networks.frames(6, seed=9))
    with torch.no_grad():
        before = qat.module(inputs)
        shipped = qat.finish(tmp_path, "net")
        # Biases became coarser: that moves an output by a step here and there.
        step_size = shipped.module(inputs).unique().diff().min()
        assert bool(((qat.module(inputs) - before).abs() <= 1.01 * step_size).all())
        assert torch.equal(shipped.module(inputs), qat.module(inputs))
    assert {path.name for path in tmp_path.iterdir()} >= {
        "net.qdq.onnx",
        "net.int8.tflite",
        "net.int8.tflite.ewp",
        "net.int8.onnx",
        "net.int8.ort",
    }
    assert all(path.is_file() for path in shipped.files.values())
    integers = {
        t.data.tobytes()
        for t in read_file(shipped.files["qdq.onnx"]).constants()
        if t.data.ndim > 1
    }
    for name, grid in shipped.trained.weights.items():
        if grid.integers.dim() == 4:
            assert grid.integers.numpy().tobytes() in integers, name
    frames = networks.frames(6, seed=9).numpy()
    tflite = networks.run_tflite(shipped.files["int8.tflite"], frames)
    onnx = networks.run_onnx(shipped.files["int8.onnx"], frames)
    assert np.array_equal(tflite.astype(np.int32) + 128, onnx.astype(np.int32))
    assert (tflite.argmax(1) == before.argmax(1).numpy()).mean() > 0.8


def test_training_goes_on_behind_finish(qat, tmp_path):
    qat.finish(tmp_path, "first")
    optimizer = torch.optim.SGD(qat.module.parameters(), 0.05)
    before = step(qat, optimizer)
    for _ in range(5):
        step(qat, optimizer)
    assert step(qat, optimizer) < before


def test_levels_of_phase_a_stay_what_they_are(tmp_path):
    model = networks.network()
    compressor = compress(model, Plan(exempt=("stem",)))
    compressor.prune(0.6)
    compressor.share(Levels(step=0.35))
    grids = compressor.finish()
    before = grids["conv.weight"].integers.clone()
    qat = prepare_qat(model, networks.SPEC, [networks.frames(16)], grids=grids)
    shipped = qat.finish(tmp_path)
    integers = shipped.trained.weights["conv.weight"].integers
    assert torch.equal(integers.abs(), before.abs())
    assert 0.3 < float((integers == 0).float().mean()) < 0.9


@pytest.mark.parametrize("frozen", [(), (0, 1), (0,), (1,)])
def test_what_was_frozen_stays_frozen(frozen):
    """A bias that batch norm becomes trains where the convolution or the batch norm did."""
    norm = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    module = nn.Sequential(*norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7)).eval()
    for index in frozen:
        module[index].requires_grad_(requires_grad=False)
    qat = prepare_qat(module, networks.SPEC, [networks.frames(16)])
    trains = {name: p.requires_grad for name, p in qat.module.named_parameters()}
    assert trains == {
        "0_weight_grid.latent": 0 not in frozen,
        "conv2d_bias": len(frozen) < 2,
        "5_weight_grid.latent": True,
        "5.bias": True,
    }


def test_under_autocast(qat):
    optimizer = torch.optim.SGD(qat.module.parameters(), 0.02)
    losses = []
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(step(qat, optimizer))
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:Grad strides do not match")
def test_in_a_process_of_a_distributed_run(qat, tmp_path):
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        # It fails on the second step where a parameter gets no gradient.
        module = nn.parallel.DistributedDataParallel(qat.module)
        optimizer = torch.optim.SGD(module.parameters(), 0.02)
        losses = [step(qat, optimizer, module=module) for _ in range(6)]
        # Were it the last to hold the group, it would end the group's threads under the
        # interpreter's lock, for which they wait.
        del module
        gc.collect()
    finally:
        dist.destroy_process_group()
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in qat.module.parameters() if p.requires_grad)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="does not fit"):
        prepare_qat(networks.network(), networks.SPEC, [torch.zeros(2, 3, 32, 24)])
    with pytest.raises(UnsupportedError, match="free of branches on tensor values"):
        prepare_qat(Branching(), networks.SPEC, [networks.frames(2)])
    with pytest.raises(ValueError, match="at least one batch"):
        prepare_qat(networks.network(), networks.SPEC, [])


@pytest.mark.parametrize("name", exporter.__all__)
def test_public_names_are_there(name):
    assert getattr(exporter, name).__name__ == name
    assert name in dir(exporter)


def test_public_names_are_all_of_them():
    assert sorted(exporter.__all__) == exporter.__all__ == sorted(exporter._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = exporter.nothing


def test_importing_the_package_is_light():
    code = "import exporter, sys; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
