"""Real photographs that packages carry: some to calibrate with, others to judge by.

Most come from Debian's `tuxpaint-stamps-default` (photographs of animals, plants, vehicles and
things, cut out; some under CC0 or in the public domain, others under the GPL: see its copyright
file), a few from scikit-image and scikit-learn. Drawings are left out by rule, not by hand:

- no folder that is named after drawings (`DRAWN`);
- at least `SMALLEST_SIDE` pixels on the shorter side;
- many colours: `FEWEST_COLOURS` of them among the opaque pixels, and one for ten pixels (drawings
  have plain areas).

Cut-out photographs lie on ImageNet's mean colour.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from runtimes.errors import EdgewrightError

PACKAGE: Final = "tuxpaint-stamps-default"
INSTALLED: Final = Path("/usr/share/tuxpaint/stamps")
DRAWN: Final = ("cartoon", "symbols", "seasonal", "roadsigns", "house_signs")
SMALLEST_SIDE: Final = 80
FEWEST_COLOURS: Final = 3000
SMALLEST_SHARE: Final = 0.1
OPAQUE: Final = 250
MEAN_COLOUR: Final = (124, 116, 104)
SAMPLES: Final = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
MORE_SAMPLES: Final = ("china.jpg", "flower.jpg")
SIZE: Final = 224


class PhotographsError(EdgewrightError):
    """The photographs are not here and could not be fetched."""


def photographs(calibrate: int, judge: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of frames, uint8 [N, 224, 224, 3]; the same ones on every machine.

    Raises:
        PhotographsError: there are fewer than asked for.
    """
    paths = sorted(_stamps() + _samples(), key=_shuffled)
    wanted = calibrate + judge
    images: dict[bytes, np.ndarray] = {}
    for path in paths:
        image = Image.open(path)
        if path.suffix == ".png" and path.name not in SAMPLES and not is_photograph(image):
            continue
        pixels = frame(image)
        images.setdefault(hashlib.sha256(pixels.tobytes()).digest(), pixels)
        if len(images) == wanted:
            break
    if len(images) < wanted:
        raise PhotographsError(
            "there are too few photographs", expected=f"{wanted}", found=f"{len(images)}"
        )
    frames = np.stack(list(images.values()))
    return frames[:calibrate], frames[calibrate:]


def is_photograph(image: Image.Image) -> bool:
    """Whether a picture is large and colourful enough for none of the drawings."""
    if min(image.size) < SMALLEST_SIDE:
        return False
    pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    opaque = pixels[pixels[:, 3] > OPAQUE, :3].astype(np.int64)
    colours = len(np.unique(opaque @ np.array([1 << 16, 1 << 8, 1])))
    return colours >= max(FEWEST_COLOURS, SMALLEST_SHARE * len(opaque))


def frame(image: Image.Image) -> np.ndarray:
    """A picture as a frame [224, 224, 3]: the middle of a photograph, the whole of a cut-out."""
    transparent = image.mode in {"RGBA", "LA", "P"}
    side = max(image.size) if transparent else min(image.size)
    canvas = Image.new("RGBA", (side, side), (*MEAN_COLOUR, 255))
    place = ((side - image.width) // 2, (side - image.height) // 2)
    canvas.paste(image.convert("RGB"), place, image.convert("RGBA").getchannel("A"))
    return np.asarray(canvas.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _shuffled(path: Path) -> bytes:
    return hashlib.sha256("/".join(path.parts[-2:]).encode()).digest()


def _stamps() -> list[Path]:
    root = INSTALLED if INSTALLED.is_dir() else _fetched()
    paths = root.rglob("*.png")
    return [p for p in paths if not any(word in str(p.relative_to(root)) for word in DRAWN)]


def _samples() -> list[Path]:
    import skimage
    import sklearn

    first = Path(skimage.__file__).parent / "data"
    second = Path(sklearn.__file__).parent / "datasets" / "images"
    return [first / name for name in SAMPLES] + [second / name for name in MORE_SAMPLES]


def _fetched() -> Path:
    """The package's files, unpacked (not installed) into the folder of benchmark environments."""
    from benchmarks.results import ROOT

    target = ROOT / ".venvs" / PACKAGE
    root = target / INSTALLED.relative_to("/")
    if root.is_dir():
        return root
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        try:
            fetch = ["apt-get", "download", "-qq", PACKAGE]
            subprocess.run(fetch, cwd=folder, check=True, capture_output=True)
            package = str(next(Path(folder).glob("*.deb")))
            unpack = ["dpkg", "-x", package, str(target)]
            subprocess.run(unpack, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            raise PhotographsError(
                f"Debian's {PACKAGE} is not here",
                found=str(error),
                remedy=f"apt-get install {PACKAGE}",
            ) from None
    return root
