"""Convolutions over few pixels are matrix products while training, and the same convolutions."""

import pytest
import torch
from torch import nn

from exporter.train import small_maps
from exporter.train.small_maps import SmallMaps

SMALL = [
    pytest.param(nn.Conv2d(5, 7, 1), (3, 5, 8, 8), id="pointwise"),
    pytest.param(nn.Conv2d(5, 7, 1, stride=2, bias=False), (3, 5, 7, 5), id="strided"),
    pytest.param(nn.Conv2d(5, 7, 3, padding=1), (3, 5, 2, 2), id="window"),
    pytest.param(nn.Conv2d(5, 7, 3, stride=2, padding=1, bias=False), (3, 5, 2, 2), id="halved"),
    pytest.param(nn.Conv2d(5, 7, (1, 3), padding=(0, 1)), (2, 5, 1, 4), id="row"),
    pytest.param(nn.Conv2d(5, 7, 2), (1, 5, 2, 2), id="whole map"),
]
LARGE = [
    pytest.param(nn.Conv2d(5, 7, 1), (2, 5, 8, 9), id="pixels"),
    pytest.param(nn.Conv2d(5, 7, 1, padding=1), (2, 5, 2, 2), id="padded pointwise"),
    pytest.param(nn.Conv2d(5, 7, 3, padding=1), (2, 5, 2, 3), id="window's pixels"),
    pytest.param(nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 1, 1), id="depthwise"),
    pytest.param(nn.Conv2d(5, 7, 3, padding=2, dilation=2), (2, 5, 2, 2), id="dilated"),
    pytest.param(nn.Conv2d(5, 7, 3, padding="same"), (2, 5, 2, 2), id="same"),
    pytest.param(nn.Conv2d(5, 7, 1), (5, 2, 2), id="no batch"),
]


def gradients(conv, x):
    """Output and gradients of a convolution."""
    conv.zero_grad()
    x = x.clone().requires_grad_()
    y = conv(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [y.detach(), x.grad, *(parameter.grad.clone() for parameter in conv.parameters())]


@pytest.fixture
def products(monkeypatch):
    """Counts what was computed as a product."""
    made = []
    product = small_maps._product
    monkeypatch.setattr(small_maps, "_product", lambda *args: made.append(1) or product(*args))
    return made


@pytest.mark.parametrize(("conv", "shape"), SMALL)
def test_a_small_map_is_a_product_with_the_same_gradients(conv, shape, products):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = gradients(conv, x)
    with SmallMaps():
        found = gradients(conv, x)
    assert products
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("conv", "shape"), LARGE)
def test_other_convolutions_stay_as_they_are(conv, shape, products):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = conv(x)
    with SmallMaps():
        assert torch.equal(conv(x), expected)
    assert not products


def test_training_computes_so_and_evaluation_does_not(products):
    from torch.utils.data import TensorDataset

    from exporter.train.fit import fit
    from exporter.train.settings import FitSettings

    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 2))
    data = TensorDataset(torch.randn(8, 3, 2, 2), torch.tensor([0, 1] * 4))
    fit(module, data, FitSettings(epochs=1, lr=0.1, batch_size=4), to_model=lambda x: x)
    assert len(products) == 2
    module(data.tensors[0])
    assert len(products) == 2
