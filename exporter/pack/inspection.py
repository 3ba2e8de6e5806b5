"""What a package holds, group by group, and what general compressors make of the same file."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from exporter.build import Frozen
from exporter.errors import PackageError
from exporter.pack.clusters import entropy_bits
from runtimes import coders, container, decode
from runtimes.container import Group, Package
from runtimes.unpack import load_base


class GroupReport(Frozen):
    """One group. `entropy_bits` is the order-0 entropy of its items' bytes, in bits an item."""

    content: str
    method: str
    spans: int
    items: int
    original_bytes: int
    package_bytes: int
    bits_per_item: float
    entropy_bits: float


class PackageReport(Frozen):
    """A package. Sizes in bytes, hashes in hexadecimal.

    `others` has what gzip -9, xz -9e and brotli -11 take for the original file. `base` is the
    SHA-256 of the file that a delta builds on.
    """

    schema_version: Literal[1] = 1
    name: str
    format: str
    version: int
    sha256: str
    original_bytes: int
    package_bytes: int
    header_bytes: int
    release: int | None
    signed: bool
    base: str | None
    portable: bool
    groups: tuple[GroupReport, ...]
    others: dict[str, int]


def inspect_package(path: Path, base: Sequence[Path] = ()) -> PackageReport:
    """Restore a package in memory, and say what is in it.

    Args:
        path: the package.
        base: for a delta, the file that it builds on, or the packages that lead to it.

    Raises:
        PackageError: the package cannot be read, is damaged, or is a delta of another file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(
            f"{path} cannot be read",
            expected="a .ewp package",
            found=str(error),
            remedy="name a file that exists",
        ) from None
    parsed = container.read(data)
    content = bytes(decode.restore(parsed, load_base(base)))
    return PackageReport(
        name=parsed.name,
        format=parsed.format,
        version=parsed.version,
        sha256=parsed.sha256.hex(),
        original_bytes=parsed.size_bytes,
        package_bytes=parsed.package_bytes,
        header_bytes=parsed.header_bytes,
        release=parsed.release,
        signed=parsed.signed,
        base=None if parsed.base is None else parsed.base.sha256.hex(),
        portable=is_portable(parsed),
        groups=tuple(_report(parsed, group, content) for group in parsed.groups),
        others=other_sizes(content),
    )


def is_portable(package: Package) -> bool:
    """Whether a reader needs nothing but the standard library."""
    from runtimes import portable

    standard = {coders.CODER_RAW, coders.CODER_DEFLATE, coders.CODER_LZMA, coders.CODER_ZEROS}
    return all(
        group.method in portable.METHODS and {one.coder for one in group.streams} <= standard
        for group in package.groups
    )


def other_sizes(content: bytes) -> dict[str, int]:
    """What general compressors take at their best, in bytes, by the command that one would use."""
    import brotli

    return {
        "gzip -9": len(gzip.compress(content, 9, mtime=0)),
        "xz -9e": len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
        "brotli -11": len(brotli.compress(content, quality=11, lgwin=24)),
    }


def _report(package: Package, group: Group, content: bytes) -> GroupReport:
    names = ", ".join(dict.fromkeys(coders.CODERS[one.coder].name for one in group.streams))
    items = group.size_bytes // group.item_bytes
    return GroupReport(
        content=group.content,
        method=f"{decode.METHOD_NAMES[group.method]} ({names})",
        spans=len(group.spans),
        items=items,
        original_bytes=group.size_bytes,
        package_bytes=group.stored_bytes,
        bits_per_item=8 * group.stored_bytes / items if items else 0.0,
        entropy_bits=_entropy_bits(_content(package, group, content), group.item_bytes),
    )


def _content(package: Package, group: Group, content: bytes) -> bytes:
    if group is package.groups[0]:
        pieces = decode.skeleton_pieces(package.spans, package.size_bytes)
    else:
        pieces = ((one.offset, one.offset + one.size_bytes) for one in group.spans)
    return b"".join(content[begin:end] for begin, end in pieces)


def _entropy_bits(content: bytes, item_bytes: int) -> float:
    """Order-0 entropy of each byte of an item, added up: bits an item."""
    items: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(-1, item_bytes)
    if not len(items):
        return 0.0
    return sum(entropy_bits(np.bincount(plane)) for plane in items.T) / len(items)
