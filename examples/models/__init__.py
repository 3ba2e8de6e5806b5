r"""Example networks in plain torch, with torchvision's parameter names where it has them.

Each file has one family and names its paper. `ZOO` lists them all; tests and benchmarks go through
it. From the repository's root, any of them is exported by its name:

    edgewright export examples.models:resnet18 --input 1x3x224x224 \
        --weights resnet18.pth --calibration mydata:photographs --out build/resnet18

and a recipe says `factory = "examples.models:resnet18"`; its `arguments` reach the factory, as in
`arguments = { num_classes = 10 }`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from examples.models.alexnet import alexnet
from examples.models.blazeface import blazeface
from examples.models.convnext import convnext_tiny
from examples.models.deeplab_v3 import deeplab_v3
from examples.models.densenet import densenet121
from examples.models.ds_cnn import ds_cnn
from examples.models.efficientnet import efficientnet_b0, efficientnet_lite0
from examples.models.entry import Entry, Shape
from examples.models.espcn import espcn
from examples.models.googlenet import googlenet
from examples.models.mnasnet import mnasnet1_0
from examples.models.mobilenet_v1 import mobilenet_v1, mobilenet_v1_vww
from examples.models.mobilenet_v2 import mobilenet_v2
from examples.models.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from examples.models.regnet import regnet_x_400mf, regnet_y_400mf
from examples.models.resnet import resnet18, resnet50, resnext50_32x4d
from examples.models.resnet8 import resnet8
from examples.models.settle import settle as settle
from examples.models.shufflenet_v2 import shufflenet_v2_x1_0
from examples.models.squeezenet import squeezenet1_1
from examples.models.ssdlite import ssdlite_mobilenet_v2
from examples.models.unet import unet
from examples.models.vgg import vgg16, vgg16_bn
from examples.models.vit import vit_tiny
from examples.models.yolo import yolo_nano

IMAGENET: Shape = (1, 3, 224, 224)
LITTLE: Shape = (1, 3, 64, 64)


def _classifier(
    factory: Callable[..., nn.Module],
    arguments: Mapping[str, Any] | None = None,
    **small: Any,
) -> Entry:
    """A network for ImageNet's pictures; ten classes in its narrow form."""
    return Entry(factory, IMAGENET, {"num_classes": 10, **small}, LITTLE, arguments or {})


_SCALED = {"layer_scale": 0.3}

ZOO: dict[str, Entry] = {
    "alexnet": _classifier(alexnet, width=0.125, grid=1),
    "vgg16": _classifier(vgg16, width=0.125, grid=2),
    "vgg16_bn": _classifier(vgg16_bn, width=0.125, grid=2),
    "resnet18": _classifier(resnet18, width=16),
    "resnet50": _classifier(resnet50, width=16),
    "resnext50_32x4d": _classifier(resnext50_32x4d, width=16, groups=8, base=8),
    "squeezenet1_1": _classifier(squeezenet1_1, width=0.25),
    "densenet121": _classifier(densenet121, growth=8, depths=(2, 3, 4, 3)),
    "googlenet": _classifier(googlenet, width=0.25),
    "mobilenet_v1": _classifier(mobilenet_v1, width=0.25),
    "mobilenet_v2": _classifier(mobilenet_v2, width=0.25),
    "mobilenet_v3_large": _classifier(mobilenet_v3_large, width=0.25),
    "mobilenet_v3_small": _classifier(mobilenet_v3_small, width=0.25),
    "mnasnet1_0": _classifier(mnasnet1_0, width=0.25),
    "efficientnet_b0": _classifier(efficientnet_b0, width=0.25),
    "efficientnet_lite0": _classifier(efficientnet_lite0, width=0.25),
    "shufflenet_v2_x1_0": _classifier(
        shufflenet_v2_x1_0, channels=(8, 16, 32, 64, 128), repeats=(2, 3, 2)
    ),
    "regnet_x_400mf": _classifier(regnet_x_400mf, widths=(16, 32, 48, 64), depths=(1, 1, 2, 2)),
    "regnet_y_400mf": _classifier(regnet_y_400mf, widths=(16, 32, 48, 64), depths=(1, 1, 2, 2)),
    "convnext_tiny": _classifier(
        convnext_tiny, arguments=_SCALED, width=16, depths=(1, 1, 2, 1), **_SCALED
    ),
    "vit_tiny": _classifier(vit_tiny, image=64, width=32, depth=2, heads=2),
    "unet": Entry(unet, (1, 3, 192, 256), {"width": 8, "depth": 2}, (1, 3, 32, 48)),
    "deeplab_v3": Entry(
        deeplab_v3,
        (1, 3, 256, 320),
        {"num_classes": 5, "width": 0.25, "head": 16, "rates": (1, 2, 3)},
        (1, 3, 64, 96),
    ),
    "yolo_nano": Entry(
        yolo_nano,
        (1, 3, 384, 640),
        {"num_classes": 3, "width": 0.125},
        (1, 3, 64, 96),
        outputs=3,
    ),
    "ssdlite_mobilenet_v2": Entry(
        ssdlite_mobilenet_v2,
        (1, 3, 320, 320),
        {"num_classes": 4, "width": 0.25},
        (1, 3, 96, 96),
        outputs=2,
    ),
    "blazeface": Entry(blazeface, (1, 3, 128, 128), {"width": 8}, (1, 3, 64, 64), outputs=2),
    "espcn": Entry(espcn, (1, 1, 120, 160), {"factor": 2, "width": 16}, (1, 1, 24, 32)),
    "resnet8": Entry(resnet8, (1, 3, 32, 32), {"width": 8}, (1, 3, 32, 32)),
    "mobilenet_v1_vww": Entry(mobilenet_v1_vww, (1, 3, 96, 96), {}, (1, 3, 96, 96)),
    "ds_cnn": Entry(ds_cnn, (1, 1, 49, 10), {"width": 16, "depth": 2}, (1, 1, 49, 10)),
}
"""By name; the name is also the factory's."""
