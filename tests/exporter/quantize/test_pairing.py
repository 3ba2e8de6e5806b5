"""The order of channels by the pair rule."""

from __future__ import annotations

import networks
import outliers
import pytest
import torch
from torch import nn

from exporter.inputs import InputSpec
from exporter.quantize.capture import capture
from exporter.quantize.pairing import order_of, pair_channels
from exporter.quantize.qat import GridWeight
from exporter.quantize.quantize import Calibration, prepare_module
from exporter.quantize.scheme import largest_pair, weight_scale

SPEC = InputSpec((1, 3, 16, 16), "float32")
CLASHING = torch.tensor([[100.0, 90, 2, 1, -80, 3, 0, 70]])


def heavy(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights with heavy tails, as trained ones have: large ones meet often."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) ** 3 * 0.05)
    return module.eval()


class Passing(nn.Module):
    """All that an order passes: functions of one value, a gate, a shortcut, pools, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.expand = nn.Conv2d(16, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.project = nn.Conv2d(32, 16, 1)
        self.head = nn.Conv2d(16, 24, 1)
        self.fc = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        trunk = nn.functional.avg_pool2d(self.stem(x).clamp(-1, 1), 2)
        inner = nn.functional.hardswish(self.depthwise(nn.functional.relu6(self.expand(trunk))))
        gate = torch.sigmoid(
            self.excite(torch.relu(self.squeeze(inner.mean((2, 3), keepdim=True))))
        )
        trunk = trunk + self.project(inner * gate)
        return self.fc(nn.functional.gelu(self.head(trunk)).mean((2, 3)))


def graph_of(module: nn.Module):
    return capture(module, torch.zeros((2, 3, 16, 16)))


def coarseness(graph_module) -> float:
    """The scales of what is summed in pairs, over those that cover: the mean over layers."""
    ratios = []
    for weight in graph_module.parameters():
        if weight.dim() >= 2 and weight.shape[1] > 3:
            scales = (weight_scale(weight.detach(), pair_rule=rule) for rule in (True, False))
            ratios.append(float(torch.div(*scales).mean()))
    return sum(ratios) / len(ratios)


def test_large_weights_of_one_sign_get_small_partners():
    order = order_of([CLASHING])
    assert sorted(order.tolist()) == list(range(8))
    assert float(largest_pair(CLASHING)) == 190
    assert float(largest_pair(CLASHING[:, order])) <= 103


def test_all_layers_that_read_a_value_have_a_say():
    other = torch.tensor([[100.0, 0, 90, 80, 0, 70, 60, 0]])
    order = order_of([CLASHING, other])
    assert [float(largest_pair(w[:, order])) for w in (CLASHING, other)] <= [128, 128]


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor([[100.0, 0, 90, -80]]),
        torch.zeros((2, 6)),
        torch.ones((3, 1)),
        torch.ones(2, 4),
    ],
    ids=["no pair clashes", "zeros", "one channel", "all clash whatever the order"],
)
def test_what_gains_nothing_stays(weight):
    assert order_of([weight]) is None


def test_an_odd_channel_is_alone_at_the_end():
    order = order_of([torch.tensor([[100.0, 90, 1, 2, 3]])])
    assert sorted(order.tolist()) == list(range(5))
    assert float(largest_pair(torch.tensor([[100.0, 90, 1, 2, 3]])[:, order])) <= 103


def test_the_network_computes_the_same_and_its_scales_are_finer():
    graph_module = graph_of(heavy(Passing())).double()
    x = torch.randn((4, 3, 16, 16), generator=torch.Generator().manual_seed(1)).double()
    before, coarse = graph_module(x), coarseness(graph_module)
    moved = pair_channels(graph_module)
    assert {"stem.weight", "project.weight", "expand.weight", "depthwise.weight"} <= set(moved)
    assert torch.equal(moved["stem.weight"], moved["project.weight"])
    assert {"fc.weight"}.isdisjoint(moved)
    assert torch.allclose(graph_module(x), before, rtol=1e-9, atol=1e-12)
    assert coarseness(graph_module) - 1 < 0.5 * (coarse - 1)


class Between(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 16, 1), between
        self.last = nn.Conv2d(width, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(x)))


class Joined(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, x), 1)


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn((1, 16, 1, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.shift


@pytest.mark.parametrize(
    ("between", "width"),
    [
        (nn.ReLU(), 16),
        (nn.PReLU(16), 16),
        (nn.PixelShuffle(2), 4),
        (nn.Conv2d(16, 16, 1, groups=4), 16),
        (Joined(), 32),
        (Added(), 16),
    ],
    ids=["relu", "prelu", "pixel shuffle", "grouped", "concat", "a constant for each"],
)
def test_channels_that_something_tells_apart_stay(between, width):
    module = Between(between, width)
    heavy(module.first)
    heavy(module.last)
    graph_module = graph_of(module.eval())
    x = torch.randn((2, 3, 16, 16))
    before = graph_module(x)
    moved = pair_channels(graph_module)
    assert bool(moved) == isinstance(between, nn.ReLU)
    assert torch.allclose(graph_module(x), before, rtol=1e-4, atol=1e-6)


class Sharing(nn.Module):
    """Two layers on one value, with a weight or a bias for both."""

    def __init__(self, shared: str) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 16, 1), nn.Linear(24, 5)
        self.one, self.other = nn.Conv2d(16, 24, 1), nn.Conv2d(16, 24, 1)
        setattr(self.other, shared, getattr(self.one, shared))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.fc((self.one(x) + self.other(x)).mean((2, 3)))


@pytest.mark.parametrize("shared", ["weight", "bias"])
def test_parameters_that_two_layers_share_stay(shared):
    graph_module = graph_of(heavy(Sharing(shared)))
    x = torch.randn((2, 3, 16, 16))
    before = graph_module(x)
    assert {"one.weight", "other.weight"}.isdisjoint(pair_channels(graph_module))
    assert torch.allclose(graph_module(x), before, rtol=1e-4, atol=1e-6)


def test_weights_on_a_grid_stay():
    graph_module = graph_of(heavy(Passing()))
    names = [name for name, _ in graph_module.named_parameters() if name.endswith("weight")]
    assert pair_channels(graph_module, dict.fromkeys(names)) == {}


def steps_of(module, **options) -> tuple[dict[str, float], dict]:
    """The mean square of each layer's weight scales, and the order that channels got."""
    samples = [torch.randn((32, 3, 16, 16), generator=torch.Generator().manual_seed(2))]
    prepared = prepare_module(module, SPEC, samples, **options)
    grids = {n: m for n, m in prepared.graph_module.named_modules() if type(m) is GridWeight}
    return {n: float(m.scale.square().mean()) for n, m in grids.items()}, prepared.channels.order


def test_steps_get_finer_and_orders_are_told():
    module = heavy(Passing())
    plain, none = steps_of(module)
    paired, order = steps_of(module, calibration=Calibration(pair_channels=True))
    assert not none
    assert set(order) >= {"stem.weight", "expand.weight"}
    for name in ("expand_weight_grid", "project_weight_grid", "head_weight_grid"):
        assert paired[name] < plain[name]
    assert sum(paired.values()) < sum(plain.values())


@pytest.mark.parametrize(
    "options",
    [
        {"exact": False, "calibration": Calibration(pair_channels=True)},
        {"calibration": Calibration(pair_channels=True, activations="int16")},
    ],
    ids=["not exact", "int16"],
)
def test_where_nothing_is_summed_in_pairs_nothing_moves(options):
    assert steps_of(heavy(Passing()), **options)[1] == {}


def test_best_orders_channels_too():
    samples = outliers.inputs(96, 1).split(16)
    spec = InputSpec((1, 4, 12, 12), "float32")
    calibration = Calibration("best", pair_channels=True)
    found = prepare_module(heavy(outliers.network()), spec, samples, calibration=calibration)
    assert found.channels.order
    assert found.channels == found.best.channels


def test_both_runtimes_still_give_one_answer(tmp_path):
    made = networks.make(
        heavy(Passing()),
        tmp_path,
        spec=InputSpec((1, 3, 16, 16), "uint8", (0.5,), (0.25,)),
        samples=networks.frames(16)[:, :16, :16],
        calibration=Calibration(pair_channels=True),
    )
    frames = networks.frames(16, seed=7)[:, :16, :16].contiguous().numpy()
    from_tflite = networks.run_tflite(made.tflite, frames)
    assert (from_tflite.astype(int) + 128 == networks.run_onnx(made.onnx, frames)).all()
