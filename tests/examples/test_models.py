"""The zoo: published sizes, torchvision's names, shapes, and that all of it can be exported."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from examples.models import ZOO, settle
from exporter.quantize.capture import quiet_torch

BATCH = torch.export.Dim("batch", min=1, max=1024)
CAPTURED = {"resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "vit_tiny", "yolo_nano", "unet"}
"""Networks whose capture `make test` tries; the tests of the zoo export the others."""
CLASSIFIERS = [name for name, entry in ZOO.items() if entry.shape == (1, 3, 224, 224)]

# From torchvision's documentation where it has the network; else from the source that is named.
PARAMETERS = {
    "alexnet": 61_100_840,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnext50_32x4d": 25_028_904,
    "squeezenet1_1": 1_235_496,
    "densenet121": 7_978_856,
    "googlenet": 6_624_904,
    "mobilenet_v1": 4_231_976,  # Keras's summary, trainable
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "mnasnet1_0": 4_383_312,
    "efficientnet_b0": 5_288_548,
    "efficientnet_lite0": 4_652_008,  # the paper's authors say 4.7 million
    "shufflenet_v2_x1_0": 2_278_604,
    "regnet_x_400mf": 5_495_976,
    "regnet_y_400mf": 4_344_144,
    "convnext_tiny": 28_589_128,
    "vit_tiny": 5_717_416,  # arXiv:2106.10270 says 5.8 million
}

# MLPerf Tiny publishes Keras's totals, which count the batch norms' moving statistics too.
KERAS_TOTALS = {"resnet8": 78_666, "mobilenet_v1_vww": 221_794, "ds_cnn": 24_908}

OUTPUTS = {
    "unet": [(2, 192, 256)],
    "deeplab_v3": [(21, 256, 320)],
    "yolo_nano": [(255, 48, 80), (255, 24, 40), (255, 12, 20)],
    "ssdlite_mobilenet_v2": [(3234, 4), (3234, 91)],
    "blazeface": [(896, 1), (896, 16)],
    "espcn": [(1, 360, 480)],
    "resnet8": [(10,)],
    "mobilenet_v1_vww": [(2,)],
    "ds_cnn": [(12,)],
    **{name: [(1000,)] for name in CLASSIFIERS},
}

# Spot checks of torchvision 0.28's names and shapes, from all over each network.
KEYS = {
    "alexnet": {"features.10.weight": (256, 256, 3, 3), "classifier.1.weight": (4096, 9216)},
    "vgg16": {"features.28.bias": (512,), "classifier.6.weight": (1000, 4096)},
    "vgg16_bn": {"features.41.running_var": (512,), "classifier.3.bias": (4096,)},
    "resnet18": {
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.bn2.weight": (512,),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.downsample.1.running_mean": (256,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "fc.weight": (1000, 2048),
    },
    "resnext50_32x4d": {"layer1.0.conv2.weight": (128, 4, 3, 3), "layer4.2.bn3.bias": (2048,)},
    "squeezenet1_1": {
        "features.3.squeeze.weight": (16, 64, 1, 1),
        "features.12.expand3x3.weight": (256, 64, 3, 3),
        "classifier.1.weight": (1000, 512, 1, 1),
    },
    "densenet121": {
        "features.denseblock3.denselayer24.conv2.weight": (32, 128, 3, 3),
        "features.transition2.norm.weight": (512,),
        "features.norm5.running_var": (1024,),
        "classifier.weight": (1000, 1024),
    },
    "googlenet": {
        "conv2.conv.weight": (64, 64, 1, 1),
        "inception4e.branch3.1.conv.weight": (128, 32, 3, 3),
        "inception5b.branch4.1.bn.weight": (128,),
        "fc.weight": (1000, 1024),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.17.conv.3.running_mean": (320,),
        "classifier.1.weight": (1000, 1280),
    },
    "mobilenet_v3_large": {
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.16.0.weight": (960, 160, 1, 1),
        "classifier.3.weight": (1000, 1280),
    },
    "mobilenet_v3_small": {
        "features.1.block.1.fc2.weight": (16, 8, 1, 1),
        "features.12.1.running_var": (576,),
        "classifier.0.weight": (1024, 576),
    },
    "mnasnet1_0": {
        "layers.8.0.layers.3.weight": (48, 1, 3, 3),
        "layers.14.weight": (1280, 320, 1, 1),
        "classifier.1.weight": (1000, 1280),
    },
    "efficientnet_b0": {
        "features.1.0.block.1.fc1.weight": (8, 32, 1, 1),
        "features.6.3.block.2.fc2.bias": (1152,),
        "features.8.0.weight": (1280, 320, 1, 1),
    },
    "shufflenet_v2_x1_0": {
        "stage2.0.branch1.2.weight": (58, 24, 1, 1),
        "stage4.3.branch2.5.weight": (232, 232, 1, 1),
        "conv5.1.bias": (1024,),
    },
    "regnet_x_400mf": {"trunk_output.block3.block3-6.f.b.0.weight": (160, 16, 3, 3)},
    "regnet_y_400mf": {
        "stem.1.weight": (32,),
        "trunk_output.block1.block1-0.proj.0.weight": (48, 32, 1, 1),
        "trunk_output.block2.block2-1.f.se.fc1.weight": (26, 104, 1, 1),
    },
    "convnext_tiny": {
        "features.1.0.layer_scale": (96, 1, 1),
        "features.5.8.block.5.weight": (384, 1536),
        "features.6.1.weight": (768, 384, 2, 2),
        "classifier.2.weight": (1000, 768),
    },
    "vit_tiny": {
        "class_token": (1, 1, 192),
        "encoder.pos_embedding": (1, 197, 192),
        "encoder.layers.encoder_layer_11.self_attention.in_proj_weight": (576, 192),
        "encoder.layers.encoder_layer_0.mlp.3.weight": (192, 768),
        "heads.head.weight": (1000, 192),
    },
    "deeplab_v3": {
        "backbone.16.0.weight": (960, 160, 1, 1),
        "classifier.0.convs.4.1.weight": (256, 960, 1, 1),
        "classifier.0.project.0.weight": (256, 1280, 1, 1),
        "classifier.4.weight": (21, 256, 1, 1),
    },
}


def shapes(result):
    """Each output's shape without the batch."""
    tensors = result if isinstance(result, tuple) else (result,)
    return [tuple(tensor.shape[1:]) for tensor in tensors]


@pytest.fixture
def whole():
    """Makes a network at full size on the meta device: shapes without numbers."""

    def make(name):
        with torch.device("meta"):
            return ZOO[name].factory(**ZOO[name].arguments).eval()

    return make


def test_names_are_those_of_the_factories_and_importable():
    from examples import models

    for name, entry in ZOO.items():
        assert entry.factory.__name__ == name
        assert getattr(models, name) is entry.factory


@pytest.mark.parametrize("name", PARAMETERS)
def test_size_is_the_published_one(name, whole):
    assert sum(p.numel() for p in whole(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", KERAS_TOTALS)
def test_total_is_mlperfs(name, whole):
    values = [v for k, v in whole(name).state_dict().items() if not k.endswith("batches_tracked")]
    assert sum(value.numel() for value in values) == KERAS_TOTALS[name]


@pytest.mark.parametrize("name", ZOO)
def test_whole_network_gives_the_stated_shapes(name, whole):
    entry = ZOO[name]
    found = shapes(whole(name)(torch.empty((3, *entry.shape[1:]), device="meta")))
    assert found == OUTPUTS[name]
    assert len(found) == entry.outputs


@pytest.mark.parametrize("name", KEYS)
def test_names_and_shapes_are_torchvisions(name, whole):
    state = whole(name).state_dict()
    assert {key: tuple(state[key].shape) for key in KEYS[name]} == KEYS[name]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in CAPTURED else pytest.mark.thorough) for n in ZOO],
)
def test_captures_with_any_batch(name):
    entry = ZOO[name]
    module = entry.make(small=True)
    with quiet_torch(), torch.no_grad():
        program = torch.export.export(
            module, (entry.example(2, small=True),), dynamic_shapes=({0: BATCH},)
        ).module()
    for count in (1, 3):
        frames = entry.example(count, small=True, seed=count)
        with torch.no_grad():
            torch.testing.assert_close(program(frames), module(frames))


@pytest.mark.parametrize("name", ZOO)
def test_settled_networks_tell_pictures_apart(name):
    entry = ZOO[name]
    with torch.no_grad():
        results = entry.settled(small=True)(entry.example(16, small=True, seed=9))
    for result in results if isinstance(results, tuple) else (results,):
        assert torch.isfinite(result).all()
        assert len(result.flatten(1).argmax(1).unique()) > 1
        assert 0.01 < float(result.std()) < 100


def test_the_seed_decides_and_torchs_own_is_left_alone():
    entry = ZOO["resnet8"]
    before = torch.random.get_rng_state()
    first, again = (entry.settled(small=True, seed=1).state_dict() for _ in range(2))
    other = entry.settled(small=True, seed=2).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_settling_leaves_the_batch_norms_centred():
    entry = ZOO["resnet18"]
    module = entry.settled(small=True)
    seen = []
    # The ReLU behind it works in place: what the batch norm gave has to be copied.
    module.bn1.register_forward_hook(lambda norm, inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        module(entry.example(32, small=True))
    norm, (output,) = module.bn1, seen
    torch.testing.assert_close(output.mean((0, 2, 3)), norm.bias.data, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.std((0, 2, 3)), norm.weight.data, atol=1e-2, rtol=1e-2)


def test_settling_needs_several_pictures():
    with pytest.raises(ValueError, match="expects at least 2 pictures, found 1"):
        settle(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8))


def test_fused_attention_is_the_same_function():
    plain, fused = (
        ZOO["vit_tiny"].factory(10, image=64, width=32, depth=2, heads=2, fused=fused).eval()
        for fused in (False, True)
    )
    fused.load_state_dict(plain.state_dict())
    frames = ZOO["vit_tiny"].example(small=True)
    with torch.no_grad():
        torch.testing.assert_close(fused(frames), plain(frames))


def test_weights_by_torchvisions_names_load(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(ZOO["mobilenet_v2"].make(small=True, seed=3).state_dict(), path)
    module = ZOO["mobilenet_v2"].make(small=True, seed=4)
    module.load_state_dict(torch.load(path, weights_only=True))
    frames = ZOO["mobilenet_v2"].example(small=True)
    with torch.no_grad():
        expected = ZOO["mobilenet_v2"].make(small=True, seed=3)(frames)
        torch.testing.assert_close(module(frames), expected)
