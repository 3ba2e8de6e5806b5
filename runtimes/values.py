"""Golden arrays, the canonical form of outputs, their hash, and their comparison bit for bit.

Canonical form: uint8 becomes int8 by subtracting 128 (an ONNX Runtime file has its zero points
128 higher), every other type stays as it is; a 4-D output of a file in NCHW becomes NHWC.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtimes.errors import EdgewrightError, ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = np.ndarray  # Debian 11 has numpy 1.19, which knows no NDArray


@dataclass(frozen=True)
class Difference:
    """`differing` of `values` values are not bit-identical.

    `max_lsb` is the largest distance: integer steps, or for floats units in the last place.
    """

    values: int
    differing: int
    max_lsb: int


def canonical(array: Array, layout: str = "") -> Array:
    """One output [N, ...] in canonical form; `layout` is the file's own."""
    if array.dtype == np.uint8:
        array = _shift(array, np.dtype(np.int8))
    if array.ndim == 4 and layout == "NCHW":
        array = array.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(array)


def for_file(array: Array, dtype: str, layout: str = "") -> Array:
    """Golden inputs (NHWC where 4-D) as a file of this dtype and layout takes them.

    int8 and uint8 turn into each other by 128, as the zero points of the two do.

    Raises:
        ModelError: the types do not fit.
    """
    if {array.dtype.name, dtype} == {"int8", "uint8"}:
        array = _shift(array, np.dtype(dtype))
    if array.dtype.name != dtype:
        raise ModelError(
            "the input arrays do not fit the model",
            expected=f"values of type {dtype}",
            found=array.dtype.name,
            remedy="use the arrays of the build that this file comes from",
        )
    if array.ndim == 4 and layout == "NCHW":
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array)


def _shift(array: Array, dtype: np.dtype[Any]) -> Array:
    """int8 to uint8 or back: flipping the top bit adds or subtracts 128."""
    return (array.view(np.uint8) ^ np.uint8(0x80)).view(dtype)


def sha256_of(arrays: Sequence[Array]) -> str:
    """The SHA-256, in hexadecimal, of arrays in canonical form.

    Hashed for each array: the line "dtype d0xd1x...", a newline, then the values in
    C order, little endian.
    """
    digest = hashlib.sha256()
    for array in arrays:
        shape = "x".join(str(size) for size in array.shape)
        digest.update(f"{array.dtype.name} {shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), order="C").tobytes())
    return digest.hexdigest()


def compare(found: Sequence[Array], expected: Sequence[Array]) -> Difference:
    """Compare outputs in canonical form, bit for bit.

    Raises:
        ModelError: another number of outputs, another type or another shape.
    """
    described = [[f"{a.dtype.name} {a.shape}" for a in arrays] for arrays in (expected, found)]
    if described[0] != described[1]:
        raise ModelError(
            "the outputs do not fit the golden ones",
            expected="; ".join(described[0]),
            found="; ".join(described[1]),
            remedy="use the golden file of this build, and name the file's output layouts",
        )
    values = differing = max_lsb = 0
    for one, other in zip(found, expected):
        distance = np.abs(_ordinals(one) - _ordinals(other))
        values += distance.size
        differing += int(np.count_nonzero(distance))
        max_lsb = max(max_lsb, int(distance.max(initial=0)))
    return Difference(values, differing, max_lsb)


def _ordinals(array: Array) -> npt.NDArray[np.int64]:
    """Integers that are equal exactly where the bits are, and next to each other for neighbours."""
    if array.dtype.kind != "f":
        return array.astype(np.int64)
    bits = array.view(f"i{array.dtype.itemsize}").astype(np.int64)
    # Negative floats count downwards in sign and magnitude; -0.0 comes right below +0.0.
    magnitude = bits & ((1 << (8 * array.dtype.itemsize - 1)) - 1)
    return np.where(bits < 0, -1 - magnitude, bits)


def load_arrays(path: str) -> dict[str, Array]:
    """Every array of an npz file; pickled objects are refused.

    Raises:
        EdgewrightError: the file is missing, damaged, or holds pickled objects.
    """
    try:
        # The stream is ours: numpy leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("one array alone (npy)")
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise EdgewrightError(
            f"{path} is missing",
            expected="an npz file of plain arrays",
            found="no such file",
            remedy="name another file; golden.npz is written by `edgewright run` and `export`",
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise EdgewrightError(
            f"{Path(path).name} cannot be read",
            expected="an npz file of plain arrays",
            found=str(error) or type(error).__name__,
            remedy="write it anew: numpy.savez(path, **{name: array}); or build again",
        ) from None


def pick(arrays: dict[str, Array], prefix: str, names: Sequence[str]) -> list[Array]:
    """The arrays of a model's inputs or outputs, by order (`input.0`) or by name (`input.NAME`).

    Raises:
        EdgewrightError: one is missing, or their sample counts differ.
    """
    picked = []
    for index, name in enumerate(names):
        keys = [key for key in (f"{prefix}.{index}", f"{prefix}.{name}") if key in arrays]
        if not keys:
            raise EdgewrightError(
                f"the arrays for {prefix} {index} ('{name}') are missing",
                expected=f"{prefix}.{index} or {prefix}.{name}",
                found=", ".join(sorted(arrays)) or "no arrays",
            )
        picked.append(arrays[keys[0]])
    counts = {array.shape[0] if array.ndim else 0 for array in picked}
    if len(counts) != 1 or 0 in counts:
        raise EdgewrightError(
            f"the {prefix} arrays need one count of samples, 1 or more, on their first axis",
            found="shapes " + ", ".join(str(array.shape) for array in picked),
        )
    return picked
