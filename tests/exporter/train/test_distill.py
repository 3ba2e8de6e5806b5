from __future__ import annotations

import os

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from exporter.errors import RecipeError
from exporter.train import FitSettings, Teacher, distill, fit


def same(inputs):
    return inputs


def teacher(**more) -> Teacher:
    torch.manual_seed(1)
    return Teacher(nn.Linear(8, 3), same, temperature=2.0, alpha=0.75, **more)


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(32, 8, generator=generator), torch.zeros(32).long())


class Heads(nn.Module):
    def forward(self, x):
        return x, x


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(8, 3)


def test_the_loss_is_hintons():
    outputs, taught = torch.randn(5, 3), torch.randn(5, 3)
    p = (taught / 2).softmax(1)
    divergence = (p * (p.log() - (outputs / 2).softmax(1).log())).sum(1).mean()
    wanted = 0.25 * 7.0 + 0.75 * 4.0 * divergence
    assert torch.allclose(teacher().blend(torch.tensor(7.0), outputs, taught), wanted)


def test_each_place_of_an_image_counts_as_a_sample_does():
    outputs, taught = torch.randn(5, 3), torch.randn(5, 3)
    image, of_teacher = (one.T.reshape(1, 3, 5, 1) for one in (outputs, taught))
    value = torch.tensor(7.0)
    flat = teacher().blend(value, outputs, taught)
    assert torch.allclose(teacher().blend(value, image, of_teacher), flat)


def test_several_outputs_teach_nothing():
    several = Teacher(Heads(), same, temperature=2.0, alpha=0.75)
    with pytest.raises(RecipeError, match=r"one output \[N, classes, ...\](.|\n)*tuple of 2"):
        several([0], torch.zeros(1, 8))


def test_a_student_comes_to_its_teacher():
    master = teacher()
    module = student()
    settings = FitSettings(60, 0.5, batch_size=16, weight_decay=0.0)
    fit(module, data(), settings, to_model=same, loss=lambda o, t: o.sum() * 0, teacher=master)
    inputs = data().tensors[0]
    agreement = (module(inputs).argmax(1) == master(list(range(32)), inputs).argmax(1)).float()
    assert agreement.mean() > 0.95


def test_the_teacher_computes_in_the_precision_of_the_training():
    seen = []
    master = teacher()
    master._module.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.dtype))
    for precision in ("bf16", "fp32"):
        settings = FitSettings(1, 0.1, batch_size=32, precision=precision)
        fit(student(), data(), settings, to_model=same, teacher=master)
    assert seen == [torch.bfloat16, torch.float32]


def test_kept_outputs_are_those_of_the_teacher(tmp_path):
    live, cached = teacher(), teacher(cache=(tmp_path, 32))
    ends = []
    for master in (live, cached):
        module = student()
        fit(module, data(), FitSettings(4, 0.1, batch_size=16), to_model=same, teacher=master)
        ends.append(module.weight.detach())
    assert torch.equal(*ends)
    assert (live.runs, cached.runs) == (8, 2)
    assert cached._cache is not None
    assert os.fstat(cached._cache._file.fileno()).st_size == 32 * 3 * 4
    # No name, so that a killed process leaves nothing; Windows has a name until it closes the file.
    assert os.name == "nt" or not list(tmp_path.iterdir())
    cached.close()
    assert not list(tmp_path.iterdir())


def test_a_cache_that_would_be_too_large_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "LARGEST_CACHE", 100)
    master = teacher(cache=(tmp_path, 32))
    master([0], torch.zeros(1, 8))
    master([0], torch.zeros(1, 8))
    assert master.runs == 2
    assert not list(tmp_path.iterdir())


def test_a_teacher_for_other_classes_is_refused():
    with pytest.raises(RecipeError, match="do not fit"):
        teacher().blend(torch.tensor(1.0), torch.zeros(2, 4), torch.zeros(2, 3))


class Noisy(TensorDataset):
    def __getitem__(self, index):
        sample, label = super().__getitem__(index)
        return sample + torch.rand(()), label


@pytest.mark.parametrize(("kind", "deterministic"), [(TensorDataset, True), (Noisy, False)])
def test_whether_samples_are_the_same_each_time(kind, deterministic):
    before = torch.get_rng_state()
    assert distill.is_deterministic(kind(*data().tensors)) is deterministic
    assert torch.equal(before, torch.get_rng_state())
