"""The loop: what its settings do, and that a resumed one is exact down to the generators."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from exporter.errors import BuildError, EdgewrightError, RecipeError
from exporter.train import Checkpoints, FitSettings, Hooks, evaluate, fit, randomness
from exporter.train.checkpoint import read_tensors, write_tensors
from exporter.train.order import Draw, Order, Seeded, loader_of


def data(count: int = 64) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 8, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


def net(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(8, 16), *middle, nn.ReLU(), nn.Linear(16, 2))


def trained(settings: FitSettings, **more) -> nn.Module:
    module = more.pop("module", None) or net()
    fit(module, data(), settings, to_model=lambda inputs: inputs, **more)
    return module


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in module.state_dict().values()])


PLAIN = FitSettings(2, 0.1, batch_size=16)


def test_it_learns():
    module = trained(FitSettings(20, 0.2, batch_size=16))
    assert evaluate(module, [data().tensors], lambda inputs: inputs) > 0.95


def test_a_batch_in_parts_is_the_same_batch():
    whole, parts = trained(PLAIN), trained(FitSettings(2, 0.1, batch_size=16, accumulate=3))
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)
    assert not torch.allclose(weights(whole), weights(net()), atol=1e-3)


def test_the_norm_of_gradients_is_held():
    class Steep(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * 100

    module = nn.Sequential(Steep(8, 2))
    before = weights(module)
    settings = FitSettings(0.25, 1.0, batch_size=16, momentum=0.0, weight_decay=0.0, clip=0.5)
    fit(module, data(), settings, to_model=lambda inputs: inputs)
    assert float((weights(module) - before).norm()) == pytest.approx(0.5, rel=1e-3)


TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.mark.parametrize("precision", TYPES)
def test_precisions(precision):
    seen = []
    module = net()
    module[2].register_forward_hook(lambda part, inputs, output: seen.append(output.dtype))
    fit(
        module,
        data(),
        FitSettings(20, 0.2, batch_size=16, precision=precision),
        to_model=lambda inputs: inputs,
    )
    assert set(seen) == {TYPES[precision]}
    assert module[0].weight.dtype == torch.float32
    assert evaluate(module, [data().tensors], lambda inputs: inputs) > 0.9


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU is here, which has fp16")
def test_a_precision_that_the_machine_does_not_have_is_refused():
    with pytest.raises(RecipeError, match=r"does not train in fp16(.|\n)*bf16"):
        trained(FitSettings(1, 0.1, batch_size=16, precision="fp16"))
    trained(PLAIN)  # and nothing of it is left


def test_adamw_is_another_optimizer():
    module = trained(FitSettings(20, 0.02, batch_size=16, optimizer="adamw"))
    assert evaluate(module, [data().tensors], lambda inputs: inputs) > 0.95


def test_batch_norm_is_frozen_over_the_last_share():
    means = []
    module = net(norm=True)
    fit(
        module,
        data(),
        FitSettings(2.5, 0.1, batch_size=16, freeze_batch_norm=0.5),
        to_model=lambda inputs: inputs,
        hooks=Hooks(after_step=lambda step, steps: means.append(module[1].running_mean.clone())),
    )
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(means)]
    assert moved == [True] * 4 + [False] * 5


def test_a_loss_that_is_not_finite_ends_it():
    with pytest.raises(FloatingPointError, match="at step 1: lower the rate") as caught:
        trained(FitSettings(4, 1e30, batch_size=16))
    assert isinstance(caught.value, EdgewrightError)
    assert caught.value.exit_code == 2


def test_an_epoch_hook_ends_it():
    seen = []
    trained(FitSettings(5, 0.1, batch_size=16), hooks=Hooks(on_epoch=seen.append))
    assert [progress.step for progress in seen] == [4, 8, 12, 16, 20]
    seen.clear()

    def enough(progress):
        seen.append(progress)
        return progress.epoch == 2

    trained(FitSettings(5, 0.1, batch_size=16), hooks=Hooks(on_epoch=enough))
    assert seen[-1].step == 8


@pytest.mark.parametrize("step", [1, 3, 4, 7])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_checkpoint_holds_all_that_the_next_step_needs(tmp_path, step, optimizer):
    settings = FitSettings(2, 0.1, batch_size=16, optimizer=optimizer)
    whole = trained(settings)
    places = {"path": tmp_path / "c.safetensors", "key": "k", "seconds": 0, "steps": 1}

    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.step > step:
            raise StoppedError

    with pytest.raises(StoppedError):
        trained(settings, checkpoints=Checkpoints(**places), hooks=Hooks(on_step=stop))
    steps = []
    again = trained(
        settings,
        checkpoints=Checkpoints(**places, resume=True),
        hooks=Hooks(on_step=lambda progress: steps.append(progress.step)),
    )
    assert steps[0] == step + 1
    assert torch.equal(weights(whole), weights(again))


def test_another_key_starts_anew(tmp_path):
    path = tmp_path / "c.safetensors"
    trained(PLAIN, checkpoints=Checkpoints(path, "one", steps=1))
    steps = []
    trained(
        PLAIN,
        checkpoints=Checkpoints(path, "two", resume=True),
        hooks=Hooks(on_step=lambda progress: steps.append(progress.step)),
    )
    assert steps[0] == 1


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "c.safetensors"
    trained(PLAIN, checkpoints=Checkpoints(path, "k", steps=1))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BuildError, match=r"c\.safetensors cannot be read(.|\n)*remove it"):
        trained(PLAIN, checkpoints=Checkpoints(path, "k", resume=True))


def test_tensors_that_share_memory_are_saved(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    given = {"a": weight, "b": weight, "c": weight[1], "d": weight.t()}
    write_tensors(tmp_path / "t.safetensors", given)
    read, _ = read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in given.items())


def test_generators_come_back():
    randomness_before = randomness.capture()
    np.random.randn()  # noqa: NPY002 - leaves a second one behind
    random.gauss(0, 1)
    state = randomness.capture()

    def draw():
        numbers = np.random.randn(), np.random.rand()  # noqa: NPY002
        return torch.rand(()).item(), *numbers, random.gauss(0, 1), random.random()

    first = draw()
    assert draw() != first
    randomness.restore(state)
    assert draw() == first
    randomness.restore(randomness_before)


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_augmented_alike_however_they_are_loaded(workers):
    class Noisy(TensorDataset):
        def __getitem__(self, index):
            return index + torch.rand(()).item() + random.random() + np.random.rand()  # noqa: NPY002

    noisy = Noisy(torch.arange(12))
    order = Order(12, 4, 3, seeded=True)
    order.start(5)
    batches = list(loader_of(noisy, order, workers=workers, seed=3))
    again = [order.indices.popleft() for _ in batches]
    for batch, indices in zip(batches, again, strict=True):
        alone = [Seeded(noisy, 3)[Draw(5, index)] for index in indices]
        assert batch.tolist() == pytest.approx(alone)


UNREAD = """
import os, torch
from torch import nn
from torch.utils.data import TensorDataset
from exporter.train import FitSettings, fit

class Unread(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.unread = nn.Linear(8, 2), nn.Linear(8, 2)
    def forward(self, x):
        return self.body(x)

torch.manual_seed(0)
inputs = torch.randn(64, 8)
module = Unread()
data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
fit(module, data, FitSettings(2, 0.1, batch_size=16, accumulate=2), to_model=lambda x: x)
if os.environ.get("RANK", "0") == "0":
    torch.save(module.state_dict(), f"{os.environ.get('WORLD_SIZE', '1')}.pt")
"""


def test_two_processes_train_a_module_with_a_part_that_is_not_read(tmp_path):
    (tmp_path / "unread.py").write_text(UNREAD)
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        argv = [sys.executable, *launcher, "unread.py"]
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{count}.pt") for count in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-5)


def test_processes_share_batches_out():
    orders = [Order(12, 4, 0, rank=rank, processes=2) for rank in (0, 1)]
    whole = list(Order(12, 4, 0))
    assert [a + b for a, b in zip(*map(list, orders), strict=True)] == whole
    with pytest.raises(RecipeError, match="of a multiple of 3 processes"):
        Order(12, 4, 0, processes=3)
