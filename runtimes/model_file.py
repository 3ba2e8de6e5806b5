"""The file that a request names: as it is, or restored from its package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runtimes.errors import ModelError
from runtimes.unpack import unpack

PACKAGE_SUFFIX = ".ewp"


def model_file(name: str) -> Path:
    """The model's path; a package is unpacked into a directory beside it, and its hash checked.

    Raises:
        ModelError: there is no such file.
        PackageError: the package is damaged.
    """
    path = Path(name)
    if not path.is_file():
        raise ModelError(f"{path.name} is missing", expected=f"a model file at {path}")
    if path.suffix.lower() != PACKAGE_SUFFIX:
        return path
    folder = path.with_name(f"{path.name}.unpacked")  # the same file may lie beside the package
    folder.mkdir(exist_ok=True)
    return unpack(path, folder, overwrite=True)


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
