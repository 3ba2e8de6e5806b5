"""Packs a file: tries what there is to try, keeps the smallest, and proves that it unpacks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exporter.build import write_bytes
from exporter.errors import PackageError
from exporter.pack.assemble import assemble, base_section, describe, release_section
from exporter.pack.delta import find_old, patch_skeleton, skeleton_source
from exporter.pack.grouping import Planner
from exporter.pack.keys import sign
from exporter.pack.methods import CodedGroup, code_group, estimate_group, worth
from exporter.pack.spans import find_spans, format_of
from exporter.pack.streams import ORDINARY, Device
from runtimes import coders, container, decode
from runtimes.container import Span
from runtimes.names import name_fault
from runtimes.unpack import load_base

# Which spans are worth their place in the header is tried out: those from these sizes on, in
# bytes, and none at all.
SPAN_FLOORS: Final = (16, 48, 256)
WEIGHTS_FLOOR: Final = 64  # weights always are worth it from here on


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

    `sha256` is the original file's, `header_bytes` what the package needs beside its groups,
    `delta` whether it builds on another file, and `note` says what did not go as one might expect.
    """

    original_bytes: int
    package_bytes: int
    header_bytes: int
    sha256: str
    package_sha256: str
    groups: tuple[GroupSummary, ...]
    delta: bool = False
    note: str = ""


@dataclass(frozen=True)
class Options:
    """How a package is made.

    Attributes:
        device: what the reader has.
        base: the file that a delta builds on: the file itself, or packages that lead to it.
        release: a number that only rises, so that devices can refuse to go back.
        key: the private key that signs.
    """

    device: Device = ORDINARY
    base: tuple[Path, ...] = ()
    release: int | None = None
    key: Path | None = None


DEFAULTS: Final = Options()


def pack(source: Path, target: Path, options: Options = DEFAULTS) -> PackSummary:
    """Pack a file into a .ewp package, whole or not at all.

    Args:
        source: any file; .tflite, .onnx and .ort files pack best.
        target: the package.
        options: how.

    Raises:
        PackageError: a file or the key cannot be read, is too large, or has a name that no package
            may hold.
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
    package, summary = encode(data, source.name, options)
    write_bytes(target, package)
    return summary


def encode(data: bytes, name: str, options: Options = DEFAULTS) -> tuple[bytes, PackSummary]:
    """Pack a file in memory, and unpack it again to prove that it can be.

    A delta that is not smaller than the full package is replaced by it; the summary's note says so.

    Raises:
        PackageError: the file is too large, has a name that no package may hold, or the base or the
            key cannot be read.
    """
    _check(data, name)
    base = load_base(options.base)
    package, summary = _Packer(data, name, options, None).best()
    if base is None:
        return package, summary
    delta, about = _Packer(data, name, options, base).best()
    if len(delta) < len(package):
        return delta, about
    note = (
        f"the delta would take {len(delta)} bytes and the full package {len(package)}: this is the"
        " full package"
    )
    return package, replace(summary, note=f"{summary.note}\n{note}".strip())


class _Packer:
    """Packs one file, given the base of a delta or none."""

    def __init__(self, data: bytes, name: str, options: Options, base: bytes | None) -> None:
        file_format = format_of(data, name)
        found = find_spans(data, file_format)
        self._data, self._name, self._options = data, name, options
        self._located, self._note = found.spans, found.note
        self._sha256 = hashlib.sha256(data).digest()
        self._head = describe(name, file_format, len(data), self._sha256)
        self._old = None if base is None else find_old(base, name, found.spans)
        content, places = (b"", {}) if self._old is None else (base or b"", self._old.places)
        self._planner = Planner(data, found.spans, options.device, content, places)

    def best(self) -> tuple[bytes, PackSummary]:
        """The smallest package, proven."""
        choices = {
            tuple(
                place
                for place, span in enumerate(self._located)
                if span.size_bytes >= (WEIGHTS_FLOOR if span.kind == "weights" else floor)
                and not self._planner.unchanged(place)
            )
            for floor in SPAN_FLOORS
        } - {()}
        packages = [self._with(members) for members in sorted(choices)]
        if not packages or self._may_win(min(len(one[0]) for one in packages)):
            packages.append(self._with(()))
        package, groups = min(packages, key=lambda one: len(one[0]))
        if self._options.key is not None:
            package = sign(package, self._options.key)
        parsed = container.read(package)
        old = None if self._old is None else self._old.content
        if decode.restore(parsed, old) != self._data:
            raise RuntimeError(
                f"the package of {self._name} does not restore it: an error in edgewright"
            )
        return package, PackSummary(
            original_bytes=len(self._data),
            package_bytes=len(package),
            header_bytes=parsed.header_bytes,
            sha256=self._sha256.hex(),
            package_sha256=hashlib.sha256(package).hexdigest(),
            groups=groups,
            delta=self._old is not None,
            note=self._note,
        )

    def _may_win(self, best_bytes: int) -> bool:
        """Whether a package without spans could be the smaller one: its full coding is slow."""
        whole = skeleton_source(self._data, (), self._old)
        return estimate_group(whole, self._options.device) <= worth(len(self._data)) * best_bytes

    def _with(self, members: tuple[int, ...]) -> tuple[bytes, tuple[GroupSummary, ...]]:
        """The package that has these of the located spans."""
        planned = self._planner.plan(members)
        places = {} if self._old is None else self._old.places
        spans = sorted(
            (
                span
                for number, group in enumerate(planned, 1)
                for span in group.spans(self._located, number, places)
            ),
            key=lambda span: span.offset,
        )
        skeleton = self._skeleton(spans)
        sections = []
        if self._old is not None:
            sections.append(base_section(self._old.base, spans))
        if self._options.release is not None:
            sections.append(release_section(self._options.release))
        groups = [skeleton, *(group.coded for group in planned)]
        signed = self._options.key is not None
        package = assemble(self._head, spans, groups, sections, signed=signed)
        spans_of = [0, *(len(group.members) for group in planned)]
        return package, tuple(map(_summary, groups, spans_of))

    def _skeleton(self, spans: Sequence[Span]) -> CodedGroup:
        device = self._options.device
        coded = code_group(skeleton_source(self._data, spans, self._old), device)
        if self._old is None:
            return coded
        patched = patch_skeleton(self._data, spans, self._old, device)
        return min(coded, patched, key=lambda one: one.cost_bytes)


def _check(data: bytes, name: str) -> None:
    fault = name_fault(name)
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


def _summary(coded: CodedGroup, spans: int) -> GroupSummary:
    names = ", ".join(coders.CODERS[stream.coder].name for stream in coded.streams)
    return GroupSummary(
        content=coded.content,
        method=f"{decode.METHOD_NAMES[coded.method]} ({names})",
        spans=spans,
        items=coded.size_bytes // coded.item_bytes,
        original_bytes=coded.size_bytes,
        package_bytes=coded.stored_bytes,
    )
