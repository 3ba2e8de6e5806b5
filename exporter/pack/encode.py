"""Packs a file: tries what there is to try, keeps the smallest, and proves that it unpacks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.build import write_bytes
from exporter.errors import PackageError
from exporter.pack.assemble import assemble, describe
from exporter.pack.grouping import Planned, Planner, skeleton_of
from exporter.pack.methods import WORTH, CodedGroup, code_group
from exporter.pack.spans import Located, find_spans, format_of
from runtimes import coders, container, decode

# Which spans are worth their place in the header is tried out: those from these sizes on, in
# bytes, and none at all.
SPAN_FLOORS: Final = (16, 48, 256)


@dataclass(frozen=True)
class GroupSummary:
    """What became of one group of spans, or of the skeleton.

    Attributes:
        content: "skeleton", "weights" (int8), "biases" (int32) or "floats".
        method: how it is coded, as "gap/value (deflate, lzma)".
        spans: how many arrays it holds.
        items: how many numbers those hold; for the skeleton, bytes.
        original_bytes: what it takes in the original file.
        package_bytes: what it takes in the package.
    """

    content: str
    method: str
    spans: int
    items: int
    original_bytes: int
    package_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Bits in the package for each item; 0 for an empty group."""
        return 8 * self.package_bytes / self.items if self.items else 0.0


@dataclass(frozen=True)
class PackSummary:
    """What `pack` made. Sizes in bytes, hashes in hexadecimal.

    `sha256` is the original file's, `header_bytes` what the package needs beside its groups, and
    `note` says why the file was packed without a look at its weights, if it was.
    """

    original_bytes: int
    package_bytes: int
    header_bytes: int
    sha256: str
    package_sha256: str
    groups: tuple[GroupSummary, ...]
    note: str = ""


def pack(source: Path, target: Path, *, brotli: bool = False) -> PackSummary:
    """Pack a file into a .ewp package, whole or not at all.

    Args:
        source: any file; .tflite, .onnx and .ort files pack best.
        target: the package.
        brotli: allow brotli, which the device must then have.

    Raises:
        PackageError: the file cannot be read, is too large, or has a name that no package may hold.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise PackageError(
            f"{source} cannot be read",
            expected="a file to pack",
            found=str(error),
            remedy="name a file that exists",
        ) from None
    package, summary = encode(data, source.name, brotli=brotli)
    write_bytes(target, package)
    return summary


def encode(data: bytes, name: str, *, brotli: bool = False) -> tuple[bytes, PackSummary]:
    """Pack a file in memory, and unpack it again to prove that it can be.

    Raises:
        PackageError: the file is too large, or has a name that no package may hold.
    """
    _check(data, name)
    file_format = format_of(data, name)
    found = find_spans(data, file_format)
    digest = hashlib.sha256(data)
    head = describe(name, file_format, len(data), digest.digest())
    planner = Planner(data, found.spans, brotli=brotli)
    sizes = [span.size_bytes for span in found.spans]
    choices = {
        tuple(place for place, size in enumerate(sizes) if size >= floor) for floor in SPAN_FLOORS
    } - {()}
    packages = [
        _encode_with(data, head, found.spans, members, planner, brotli)
        for members in sorted(choices)
    ]
    if not packages or _may_win(data, min(len(one[0]) for one in packages)):
        packages.append(_encode_with(data, head, (), (), planner, brotli))
    package, groups = min(packages, key=lambda one: len(one[0]))
    parsed = container.read(package)
    if decode.restore(parsed) != data:
        raise RuntimeError(f"the package of {name} does not restore it: an error in edgewright")
    return package, PackSummary(
        original_bytes=len(data),
        package_bytes=len(package),
        header_bytes=parsed.header_bytes,
        sha256=digest.hexdigest(),
        package_sha256=hashlib.sha256(package).hexdigest(),
        groups=groups,
        note=found.note,
    )


def _may_win(data: bytes, best_bytes: int) -> bool:
    """Whether a package without spans could be the smaller one: its full coding is slow."""
    return code_group(data, 1, None, brotli=False, quick=True).cost_bytes <= WORTH * best_bytes


def _check(data: bytes, name: str) -> None:
    fault = container.name_fault(name)
    if fault is not None:
        raise PackageError(
            f"{name!r} cannot be the name of a packed file: {fault}",
            expected="a plain, visible file name",
            found=repr(name),
            remedy="rename the file",
        )
    if len(data) > container.DEFAULT_CEILING_BYTES:
        raise PackageError(
            f"{name} is too large to pack",
            expected=f"at most {container.DEFAULT_CEILING_BYTES} bytes, which readers accept",
            found=f"{len(data)} bytes",
        )


def _encode_with(
    data: bytes,
    head: bytes,
    located: Sequence[Located],
    members: tuple[int, ...],
    planner: Planner,
    brotli: bool,
) -> tuple[bytes, tuple[GroupSummary, ...]]:
    """The package that has these of the located spans."""
    skeleton = code_group(
        skeleton_of(data, [located[member] for member in members]), 1, None, brotli=brotli
    )
    planned = planner.plan(members)
    spans = sorted(
        (span for number, group in enumerate(planned, 1) for span in group.spans(located, number)),
        key=lambda span: span.offset,
    )
    package = assemble(head, spans, [skeleton, *(group.coded for group in planned)])
    summaries = [_summary(skeleton, None), *(_summary(group.coded, group) for group in planned)]
    return package, tuple(summaries)


def _summary(coded: CodedGroup, planned: Planned | None) -> GroupSummary:
    names = ", ".join(coders.CODERS[stream.coder].name for stream in coded.streams)
    return GroupSummary(
        content="skeleton" if planned is None else planned.kind,
        method=f"{decode.METHODS[coded.method].name} ({names})",
        spans=0 if planned is None else len(planned.members),
        items=coded.size_bytes // coded.item_bytes,
        original_bytes=coded.size_bytes,
        package_bytes=coded.stored_bytes,
    )
