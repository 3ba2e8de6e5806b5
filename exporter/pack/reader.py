"""Makes the reader a single file to copy: `edgewright-unpack.pyz`, for Python 3.9 and newer."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

import runtimes
from exporter.build import write_bytes

READER_NAME: Final = "edgewright-unpack.pyz"
# All that unpacking imports; a test holds the list against what it does import.
MODULES: Final = (
    "__init__",
    "arrays",
    "classes",
    "coders",
    "container",
    "decode",
    "errors",
    "huffman",
    "matrices",
    "methods",
    "names",
    "patch",
    "portable",
    "rans",
    "signature",
    "unpack",
    "untrusted",
)
_START: Final = "import sys\n\nfrom runtimes.unpack import main\n\nsys.exit(main())\n"
_SHEBANG: Final = b"#!/usr/bin/env python3\n"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same modules always give the same file


def write_reader(target: Path) -> Path:
    """Write the reader as a zipapp (PEP 441), executable; gives its path."""
    folder = Path(runtimes.__file__).parent
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for module in MODULES:
            _add(bundle, f"runtimes/{module}.py", (folder / f"{module}.py").read_text("utf-8"))
        _add(bundle, "__main__.py", _START)
    write_bytes(target, _SHEBANG + archive.getvalue())
    target.chmod(0o755)
    return target


def _add(bundle: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    bundle.writestr(entry, text)
