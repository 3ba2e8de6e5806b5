"""Fashion-MNIST's files are read whole or refused, and given in the sizes that networks want."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
COUNT = 10_000


@pytest.fixture
def fashion(monkeypatch, tmp_path):
    """The example's module, with made pictures in place of the real ones."""
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "fashion"))
    monkeypatch.delitem(sys.modules, "fashion", raising=False)
    import fashion

    fashion.pictures.cache_clear()
    yield fashion
    fashion.pictures.cache_clear()
    sys.modules.pop("fashion", None)


def write(folder, images, labels):
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(bytes(16) + images.tobytes())
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(bytes(8) + labels.tobytes())


@pytest.fixture
def made(tmp_path):
    images = np.zeros((COUNT, 28, 28), np.uint8)
    images[:, 3, 4] = np.arange(COUNT) % 251
    labels = (np.arange(COUNT) % 10).astype(np.uint8)
    write(tmp_path, images, labels)
    return images, labels


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("name", "shape", "place"),
    [
        ("test", (28, 28, 1), (3, 4)),
        ("test_rgb32", (32, 32, 3), (5, 6)),
        ("test_rgb64", (64, 64, 3), (11, 13)),
    ],
)
def test_pictures_in_every_size(fashion, name, shape, place):
    dataset = getattr(fashion, name)()
    assert len(dataset) == COUNT
    frame, label = dataset[300]
    assert frame.dtype == torch.uint8
    assert frame.shape == shape
    assert set(frame[place].tolist()) == {300 % 251}
    assert label == 0


def test_a_missing_file_says_where_it_comes_from(fashion):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        fashion.test()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_refused(fashion, tmp_path, made, change):
    images, labels = made
    write(tmp_path, images, np.resize(labels, COUNT + change))
    with pytest.raises(ValueError, match="10000 bytes expected"):
        fashion.test()


def test_pictures_move_and_are_mirrored(fashion):
    frames = torch.zeros((1, 28, 28, 1), dtype=torch.uint8)
    frames[0, 10, 5] = 9
    moved = fashion.Moved(frames, torch.tensor([4]), 1, 1)
    torch.manual_seed(0)
    places = {tuple(torch.nonzero(moved[0][0])[0].tolist()[:2]) for _ in range(400)}
    plain = {(8 + a, 3 + b) for a in range(5) for b in range(5)}
    mirrored = {(row, 27 - column) for row, column in plain}
    assert places == plain | mirrored


def test_the_network_is_the_papers(fashion):
    network = fashion.resnet20()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(module.kernel_size == (3, 3) for module in convolutions) == 19
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
