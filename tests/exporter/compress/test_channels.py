"""Networks with fewer channels: still networks, of the size that was asked for, and exported."""

from __future__ import annotations

import copy
from functools import cache

import networks
import numpy as np
import pytest
import torch
from torch import nn

from examples.models import ZOO
from exporter.compress.channel_groups import find_groups, flat
from exporter.compress.channels import Channels, choose_channels, prune_channels, remove_channels
from exporter.compress.importance import IMPORTANCES, importance_of
from exporter.compress.layer_costs import layers_of
from exporter.compress.layer_times import LayerTime, LayerTimes
from exporter.compress.widths import Widths, narrow
from exporter.errors import RecipeError, UnsupportedError, WeightError
from exporter.graph import integer
from exporter.inputs import InputSpec

TARGETS = {
    "resnet18": 0.6,
    "resnext50_32x4d": 0.7,
    "mobilenet_v2": 0.6,
    "mobilenet_v3_small": 0.6,
    "densenet121": 0.7,
    "shufflenet_v2_x1_0": 0.9,
    "regnet_y_400mf": 0.7,
    "yolo_nano": 0.6,
}
"""The share of the MACs that is left, of networks with residuals, depthwise and grouped
convolutions, concatenations, shuffles, squeeze and excitation, and several outputs."""

KIN = {"resnext50_32x4d", "mobilenet_v2", "densenet121"}
"""Whose structures the others have as well; `make thorough` has them."""
NETWORKS = [
    pytest.param(name, marks=pytest.mark.thorough if name in KIN else ()) for name in TARGETS
]


@cache
def narrowed(name):
    entry = ZOO[name]
    module = entry.settled(small=True)
    target = Channels(macs=TARGETS[name], multiple=8)
    pruned = prune_channels(module, entry.example(1, small=True), target)
    return module.eval(), pruned


def macs(module, example):
    return sum(layer.macs for layer in layers_of(module, example))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_as_small_as_it_was_said_to_be(name):
    entry = ZOO[name]
    module, pruned = narrowed(name)
    example = entry.example(1, small=True)
    before = macs(entry.make(small=True), example)
    assert pruned.chosen.before == before
    assert pruned.chosen.after == macs(module, example)
    assert 0.5 * TARGETS[name] < pruned.chosen.after / before <= TARGETS[name]
    for layer, outputs in pruned.widths.layers.items():
        full = entry.make(small=True).get_submodule(layer)
        assert outputs % 4 == 0 or outputs == getattr(full, "out_channels", None)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_network_takes_the_weights(name):
    entry = ZOO[name]
    module, pruned = narrowed(name)
    example = entry.example(2, small=True)
    widths = Widths.model_validate_json(pruned.widths.model_dump_json())
    fresh = narrow(entry.make(small=True, seed=7), widths)
    fresh.load_state_dict(module.state_dict())
    with torch.no_grad():
        wide, ours, theirs = (flat(m(example)) for m in (entry.make(small=True), module, fresh))
    for one, other, original in zip(ours, theirs, wide, strict=True):
        assert torch.equal(one, other)
        assert one.shape == original.shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regnet_y_400mf", "shufflenet_v2_x1_0"])
def test_a_narrow_network_gives_one_answer(name, tmp_path):
    module, _ = narrowed(name)
    spec = InputSpec(ZOO[name].small_shape, "uint8", mean=(0.5,), std=(0.25,))
    frames = networks.frames_like(ZOO[name].example(16, small=True, seed=5))
    made = networks.make(module, tmp_path, spec=spec, samples=frames[:8])
    shown = frames[8:].numpy()
    from_tflite = networks.run_tflite(made.tflite, shown)
    from_onnx = networks.run_onnx(made.onnx, shown)
    assert np.array_equal(from_tflite.astype(int) + 128, from_onnx)
    expected = integer.run(made.graph, [shown])[made.graph.outputs[0]]
    assert len(np.unique(expected)) > 10


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_channels_without_effect_go_first(importance):
    """Half of the channels are dead; without them the network gives what it gave."""
    torch.manual_seed(0)
    net = residual()
    dead = torch.arange(0, 16, 2)
    with torch.no_grad():
        for conv, norm in ((net.stem, net.norm1), (net.body, net.norm2)):
            conv.weight[dead] *= 1e-3
            norm.weight[dead] = norm.bias[dead] = 0.0
            norm.bias[1::2] += 1.0
        net.body.weight[:, dead] = 0.0
        net.head.weight[:, dead] = 0.0
    inputs = torch.randn(4, 3, 8, 8)
    batches = [(inputs, torch.tensor([0, 1, 2, 3]))]
    with torch.no_grad():
        before = net(inputs)
    target = Channels(macs=0.5, multiple=16, importance=importance)
    prune_channels(net, inputs, target, batches)
    assert net.stem.out_channels == net.body.in_channels == net.body.out_channels == 8
    with torch.no_grad():
        torch.testing.assert_close(net(inputs), before, atol=1e-5, rtol=1e-5)


def residual():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(16)
            self.body = nn.Conv2d(16, 16, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(16)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            x = self.norm1(self.stem(x)).relu()
            return self.head((x + self.norm2(self.body(x)).relu()).mean((2, 3)))

    return Residual().eval()


def test_taylor_is_the_change_of_the_loss():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs, targets = torch.randn(32, 6), torch.randint(0, 3, (32,))
    groups = find_groups(net, inputs).groups
    (found,) = importance_of("taylor", net, groups, [(inputs, targets)])
    scale = 1e-4

    def loss(channel):
        twin = copy.deepcopy(net)
        with torch.no_grad():
            if channel is not None:
                for parameter in (twin[0].weight, twin[0].bias):
                    parameter[channel] *= 1 - scale
            return float(nn.functional.cross_entropy(twin.double()(inputs.double()), targets))

    expected = [((loss(channel) - loss(None)) / scale) ** 2 for channel in range(8)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.02, atol=1e-9)


def test_taylor_is_the_same_with_frozen_batch_norms():
    torch.manual_seed(0)
    net = residual()
    inputs = torch.randn(8, 3, 8, 8)
    batches = [(inputs, torch.randint(0, 4, (8,)))]
    groups = find_groups(net, inputs).groups
    expected = importance_of("taylor", net, groups, batches)
    for norm in (net.norm1, net.norm2):
        norm.requires_grad_(requires_grad=False)
    found = importance_of("taylor", net, groups, batches)
    assert all(bool((values > 0).any()) for values in expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert not any(p.requires_grad for p in (*net.norm1.parameters(), *net.norm2.parameters()))
    assert all(p.grad is None for p in net.parameters())


def test_the_last_layer_and_exempt_ones_keep_their_outputs():
    module = ZOO["resnet18"].make(small=True)
    example = ZOO["resnet18"].example(1, small=True)
    target = Channels(macs=0.7, exempt=("layer1.0.conv1",))
    pruned = prune_channels(module, example, target)
    assert module.fc.out_features == 10
    assert module.layer1[0].conv1.out_channels == 16
    assert pruned.chosen.kept["fc"] == "its channels are the model's outputs"
    assert pruned.chosen.kept["layer1.0.conv1"] == "'layer1.0.conv1' is exempt"


def test_a_shuffle_keeps_its_channels():
    """Its halves would be mixed in another way: the graph does not know, the trials do."""

    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            x = self.first(x)
            half = x.shape[1] // 2
            x = x.reshape(-1, 2, half, 4, 4).transpose(1, 2).reshape(-1, 2 * half, 4, 4)
            return self.head(self.second(x).mean((2, 3)))

    grouping = find_groups(Shuffled(), torch.randn(1, 3, 4, 4))
    assert [group.root for group in grouping.groups] == ["second"]
    assert "mixed" in grouping.kept["first"] or "does not run" in grouping.kept["first"]


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
            self.two.weight = self.one.weight

    widths = Widths(
        attributes={n: {"out_features": 4, "in_features": 4} for n in ("one", "two")},
        shapes={"one.weight": (4, 4), "two.weight": (4, 4), "one.bias": (4,), "two.bias": (4,)},
    )
    module = narrow(Tied(), widths)
    assert module.one.weight is module.two.weight
    assert module.one.weight.shape == (4, 4)


def test_layers_that_share_a_weight_keep_their_channels():
    """Pruned, each would have one of its own, and narrow() would give another network."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 32, 3, padding=1)
            self.one, self.two = (nn.Conv2d(32, 32, 3, padding=1) for _ in range(2))
            self.two.weight = self.one.weight
            self.last = nn.Conv2d(32, 32, 1)
            self.head = nn.Linear(32, 4)

        def forward(self, x):
            x = self.stem(x).relu()
            x = x + self.one(x).relu()
            x = x + self.two(x).relu()
            return self.head(self.last(x).relu().mean((2, 3)))

    module, example = Tied(), torch.randn(2, 3, 8, 8)
    pruned = prune_channels(module, example, Channels(macs=0.99))
    assert pruned.widths.layers.keys() == {"last"}
    assert "'one.weight' and 'two.weight' are tied" in pruned.chosen.kept.values()
    assert module.one.weight is module.two.weight
    fresh = narrow(Tied(), pruned.widths)
    with torch.no_grad():
        module.one.weight.add_(0.1)
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(example), module(example))


def test_frozen_layers_keep_their_channels_and_stay_frozen():
    """At the front and in the middle, with a batch norm and a reader that is narrowed."""
    torch.manual_seed(0)
    wide = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU()]
    more = [nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU()]
    module = nn.Sequential(*wide, *more, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    for index in (0, 3, 5, 11):
        module[index].requires_grad_(requires_grad=False)
    pruned = prune_channels(module, torch.randn(1, 3, 8, 8), Channels(macs=0.8))
    assert pruned.widths.layers.keys() <= {"2", "7"}
    assert module[3].num_features == module[5].in_channels < 32
    for name in ("0", "5"):
        assert pruned.chosen.kept[name] == f"'{name}' is frozen (requires_grad=False)"
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"{n}.{key}" for n in (0, 3, 5, 11) for key in ("weight", "bias")}


def test_a_network_that_is_frozen_as_a_whole_is_refused():
    with pytest.raises(RecipeError, match=r"no channels can be pruned(.|\n)*is frozen"):
        prune_channels(
            residual().requires_grad_(requires_grad=False), torch.randn(1, 3, 8, 8), Channels(0.5)
        )


def test_uniform_keeps_the_same_share_of_every_layer():
    module = ZOO["resnet18"].make(small=False)
    example = torch.zeros(1, 3, 32, 32)
    target = Channels(macs=0.6, scope="uniform")
    remove_channels(module, example, choose_channels(module, example, target).removed)
    widths = [module.conv1, *(getattr(module, f"layer{n}")[1].conv1 for n in range(1, 5))]
    assert [layer.out_channels for layer in widths] == [48, 48, 96, 192, 384]


def test_milliseconds_follow_a_table_of_times():
    """Times in proportion to the MACs choose what the MACs choose."""
    net, inputs = residual(), torch.randn(1, 3, 8, 8)
    layers = [layer for layer in layers_of(net, inputs) if layer.shape is not None]
    rows = {
        (layer.shape, outputs, reads): 64 * 9 * outputs * reads / 1e6
        for layer in layers
        for outputs in (4, 16)
        for reads in (3, 16)
        if layer.shape.kind == "conv"
    } | {(layers[-1].shape, o, i): o * i / 1e6 for o in (1, 4) for i in (4, 16)}
    times = LayerTimes(
        device="local",
        runtime="LiteRT",
        threads=1,
        network_ms=2.0,
        rows=tuple(
            LayerTime(shape=s, outputs=o, inputs=i, ms=ms) for (s, o, i), ms in rows.items()
        ),
    )
    by_time = Channels(milliseconds=0.8, times=times, multiple=8)
    by_macs = Channels(macs=0.4, multiple=8)
    chosen, expected = (choose_channels(net, inputs, target) for target in (by_time, by_macs))
    assert chosen.removed == expected.removed
    assert chosen.before == 2.0
    assert chosen.after / chosen.before == pytest.approx(expected.after / expected.before)


def test_the_modes_stay_and_no_gradient_is_left():
    module = ZOO["resnet18"].make(small=True).train()
    module.bn1.eval()
    prune_channels(module, ZOO["resnet18"].example(2, small=True), Channels(parameters=0.8))
    assert module.training
    assert not module.bn1.training
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (Channels, "one target"),
        (lambda: Channels(macs=0.5, parameters=0.5), "one target"),
        (lambda: Channels(milliseconds=1.0), "table of measured layer times"),
    ],
)
def test_a_target_that_is_none_is_refused(channels, message):
    with pytest.raises(RecipeError, match=message):
        channels()


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (Channels(macs=0.01), "cannot go as far as asked"),
        (Channels(macs=0.5, exempt=("stam",)), "exempt layer 'stam'"),
        (Channels(macs=0.5, exempt=("stem", "body")), "no channels can be pruned"),
        (Channels(macs=0.5, importance="taylor"), "needs gradients"),
    ],
)
def test_what_cannot_be_reached_is_refused(channels, message):
    with pytest.raises(RecipeError, match=message):
        prune_channels(residual(), torch.randn(1, 3, 8, 8), channels)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (Widths(attributes={"stam": {"out_channels": 8}}, shapes={}), "module 'stam'"),
        (Widths(attributes={}, shapes={"stam.weight": (8,)}), "tensor 'stam.weight'"),
        (Widths(attributes={}, shapes={"stem.weight": (99, 3, 3, 3)}), "do not fit 'stem.weight'"),
    ],
)
def test_widths_of_another_model_are_refused(widths, message):
    with pytest.raises(RecipeError, match=message):
        narrow(residual(), widths)


def test_weights_that_are_no_numbers_are_refused():
    net = residual()
    with torch.no_grad():
        net.body.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(WeightError, match=r"'body\.weight' holds NaN"):
        prune_channels(net, torch.randn(1, 3, 8, 8), Channels(macs=0.5))


def test_code_that_cannot_be_followed_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)

        def forward(self, x):
            return self.conv(x), 3

    with pytest.raises(UnsupportedError, match="torch-pruning cannot follow"):
        prune_channels(Odd(), torch.randn(1, 3, 4, 4), Channels(macs=0.5))
