"""The estimate of a package, held against packages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import network
from torch import nn

from exporter.compress.coded_size import Weight, shipped_integers
from exporter.compress.structure import structure_of
from exporter.pack.estimate import SAMPLED_ITEMS, row_stride, weight_bytes


def sparse(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Levels as pruned and shared weights have them, rows of different spread."""
    generator = np.random.default_rng(seed)
    spread = np.exp(generator.normal(0, 0.5, (rows, 1)))
    values = np.round(generator.laplace(0, 1, (rows, columns)) * spread)
    return values.clip(-64, 64).astype(np.int8)


@pytest.mark.parametrize(("rows", "columns"), [(16, 144), (64, 576), (256, 2304)])
def test_the_estimate_of_weights_is_what_the_coder_makes(rows, columns):
    weights = [sparse(rows, columns, seed) for seed in range(3)]
    content = b"".join(one.tobytes() for one in weights)
    from exporter.pack.grouping import Planner
    from exporter.pack.spans import Located
    from exporter.pack.streams import ORDINARY

    size = rows * columns
    located = [Located(at * size, (rows, columns), (0, 1), 1, "weights") for at in range(3)]
    planned = Planner(content, located, ORDINARY).plan(range(3))
    coded = sum(group.coded.stored_bytes for group in planned)
    assert weight_bytes(weights) == pytest.approx(coded, rel=0.02)


def test_rows_stand_for_their_neighbours():
    arrays = [sparse(2048, 2304), sparse(10, 4096, 1), sparse(256, 288, 2)]
    arrays[0][:, ::2] = 0  # columns of two kinds
    rows = [len(one) for one in arrays]
    samples = [one[:: row_stride(len(one), 1 << 28)] for one in arrays]
    assert [len(one) for one in samples] == [128, 10, 128]
    assert weight_bytes(samples, rows) == pytest.approx(weight_bytes(arrays), rel=0.01)


def test_few_weights_are_all_looked_at():
    assert row_stride(4096, SAMPLED_ITEMS) == 1
    assert row_stride(4096, 8 * SAMPLED_ITEMS) == 8


def test_no_weights_take_nothing():
    assert weight_bytes([]) == 0.0


@pytest.mark.parametrize("stride", [1, 3])
def test_the_integers_are_those_that_ship(stride):
    weight = torch.randn(8, 4, 3, 3)
    own = shipped_integers(Weight(weight, None, dense=True), stride)
    assert own.abs().max() <= 127
    assert len(own) == len(weight[::stride])
    levels = shipped_integers(Weight(weight, 0.5, dense=True), stride)
    assert torch.equal(levels.float(), torch.round(weight[::stride] / 0.5))


def test_structure_counts_what_stays():
    structure = structure_of(network())
    assert structure.layers == 5
    assert structure.channels == 16 + 16 + 16 + 8 + 7
    assert structure.operators == 4  # pooling, addition, concatenation, mean
    assert structure.other_parameters == 0


def test_structure_of_a_module_that_cannot_be_traced():
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.act = nn.Sigmoid()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) if float(x.sum()) > 0 else self.act(x)

    structure = structure_of(Branches())
    assert (structure.layers, structure.operators) == (1, 1)
