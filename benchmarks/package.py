"""The download: packages beside gzip, zstd, xz, brotli, and deltas beside bsdiff4.

Sizes are exact. Speeds are ratios of times taken in turns, in one process, on the same file: how
many times as fast as xz the package is decoded, its SHA-256 included; `fast` is what `pack --fast`
makes. Memory is what unpacking adds to a fresh process at its peak, as a multiple of the file: what
does not depend on the file (code that is read in, tables: some 2.5 MB) is in it, and is most of it
for files under 1 MB. `order_0_share` is how much less the weights take than the order-0 entropy of
all of them together. `floor_bytes` of a delta is the entropy of what was moved, which no coder gets
below on average. --quick takes ResNet-20 and MobileNetV2; --more keeps the rows of networks that a
run does not measure (date and commit are then those of the last run).
"""

from __future__ import annotations

import gzip
import json
import lzma
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.package_files import Packable, exported, from_package
from benchmarks.paired import interleaved, timed
from benchmarks.results import ROOT, Value, arguments, kept_rows, publish
from exporter.pack import Device, Options, PackSummary, encode
from exporter.pack.clusters import entropy_bits
from exporter.pack.spans import find_spans, format_of
from runtimes import container, decode

PEERS: Final = ROOT / ".venvs" / "bench-package"
FOLDER: Final = ROOT / "benchmarks" / "peers"
ROUNDS: Final = 15
QUICK_ROUNDS: Final = 3
MOVED: Final = 0.05  # of the live weights, for deltas
MOST_STEPS: Final = 3
PIP_TIMEOUT_S: Final = 300

Row = dict[str, Value]

_PEAK: Final = """
import json, sys
from pathlib import Path
from runtimes.unpack import unpack
import numpy, runtimes.matrices, runtimes.huffman, runtimes.methods, runtimes.patch
import brotli, hashlib, lzma, zlib
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
Path("/proc/self/clear_refs").write_text("5")
before = peak()
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps(peak() - before))
"""


def main() -> None:
    """Pack every network; print and write the table."""
    parser = arguments(__doc__, more=True)
    parser.add_argument("--networks", nargs="+", help="only these")
    options = parser.parse_args()
    python = peers_python()
    kept = kept_rows("package", options)
    rows: list[Row] = []
    for file in files(python, quick=options.quick):
        if options.networks is None or file.network in options.networks:
            rows.append(row_of(file, python, QUICK_ROUNDS if options.quick else ROUNDS))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    for file in files(python, quick=options.quick):
        wanted = options.networks is None or file.network in options.networks
        if wanted and file.sparsity == DELTA_SPARSITY and file.network in DELTA_NETWORKS:
            rows.append(delta_row(file, python))
    publish("package", in_place(kept, rows), options, versions=peer_versions(python))


def in_place(kept: Sequence[Row], measured: Sequence[Row]) -> list[Row]:
    """Rows with those that were measured again in their places, and new ones behind them."""
    new = {(row["network"], row["sparsity"]): row for row in measured}
    rows = [new.pop((row["network"], row["sparsity"]), row) for row in kept]
    return [*rows, *new.values()]


DELTA_SPARSITY: Final = 0.9
DELTA_NETWORKS: Final = ("ResNet-20", "MobileNetV2", "PP-OCRv4 rec")
LARGE_BYTES: Final = 1 << 23  # a second package of such a file takes minutes more


def files(python: Path | None, *, quick: bool) -> Iterator[Packable]:
    """The .tflite files of our export; the whole run has ONNX networks of a package too."""
    yield from (one for one in exported(quick) if one.path.suffix == ".tflite")
    if quick:
        return
    models = sorted(PEERS.glob("lib/python*/site-packages/rapidocr_onnxruntime/models"))
    if python is not None and models:
        yield from from_package(models[0])
    else:
        print("SKIPPED the networks of rapidocr-onnxruntime: it is not here", file=sys.stderr)


def row_of(file: Packable, python: Path | None, rounds: int) -> Row:
    """What a file takes, and how fast and with how much memory it comes back."""
    data = file.path.read_bytes()
    package, summary = encode(data, file.path.name)
    with_brotli = package
    if len(data) < LARGE_BYTES:
        with_brotli, _ = encode(data, file.path.name, Options(Device(brotli=True)))
    fast, _ = encode(data, file.path.name, Options(Device(fast=True)))
    xz = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    others = {
        "gzip_bytes": len(gzip.compress(data, 9, mtime=0)),
        "zstd_bytes": peer_size(python, "zstd", file.path),
        "xz_bytes": len(xz),
        "brotli_bytes": _brotli_bytes(data),
    }
    best = min(others["xz_bytes"] or 0, others["brotli_bytes"] or 0)
    return {
        "network": file.network,
        "sparsity": file.sparsity,
        "file_bytes": len(data),
        "package_bytes": len(package),
        "brotli_package_bytes": len(with_brotli) if len(data) < LARGE_BYTES else None,
        **others,
        "less_than_best_share": 1 - len(package) / best,
        **_weights(data, file.path.name, summary),
        "fast_package_bytes": len(fast),
        **_decoding({"package": package, "brotli": with_brotli, "fast": fast}, xz, rounds),
        "peak_memory_ratio": _peak_ratio(package, len(data)),
        "fast_peak_memory_ratio": _peak_ratio(fast, len(data)),
    }


def delta_row(file: Packable, python: Path | None) -> Row:
    """A delta to the same network with some live weights moved, the mask as it was."""
    old = file.path.read_bytes()
    new = moved(old, file.path.name)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        path = Path(folder) / "new"
        path.write_bytes(new)
        package, _ = encode(new, file.path.name, Options(base=(file.path,)))
        peer = peer_size(python, "bsdiff4", file.path, path)
    return {
        "network": f"{file.network}, delta",
        "sparsity": file.sparsity,
        "file_bytes": len(new),
        "package_bytes": len(package),
        "bsdiff4_bytes": peer,
        "less_than_best_share": None if peer is None else 1 - len(package) / peer,
        "floor_bytes": moves_entropy_bytes(old, new, file.path.name),
    }


def moves_entropy_bytes(old: bytes, new: bytes, name: str) -> float:
    """What `moved` did, in bytes, to a coder that knows its rules: which live weights, and where.

    Every coder needs that much on average, as each weight's draw is independent.
    """
    before, after = np.frombuffer(old, np.int8), np.frombuffer(new, np.int8)
    spans = [one for one in find_spans(old, format_of(old, name)).spans if one.kind == "weights"]
    places = np.concatenate([one.offset + np.arange(one.size_bytes) for one in spans])
    live = int(np.count_nonzero(before[places]))
    hit = int(np.count_nonzero(before != after))
    return (entropy_bits(np.array([hit, live - hit])) + hit * math.log2(2 * MOST_STEPS)) / 8


def moved(data: bytes, name: str) -> bytes:
    """The file with a twentieth of its live weights moved by up to three steps."""
    random = np.random.default_rng(0)
    content = np.frombuffer(data, np.int8).copy()
    for span in find_spans(data, format_of(data, name)).spans:
        if span.kind != "weights":
            continue
        part = content[span.offset : span.offset + span.size_bytes]
        hit = np.flatnonzero((part != 0) & (random.random(part.size) < MOVED))
        step = random.integers(1, 1 + MOST_STEPS, hit.size) * random.choice([-1, 1], hit.size)
        new = np.clip(part[hit].astype(int) + step, -127, 127)
        part[hit] = np.where(new == 0, np.sign(part[hit]), new)
    return content.tobytes()


def _weights(data: bytes, name: str, summary: PackSummary) -> Row:
    """Bits a weight, everything that its groups take counted, beside order 0 of all weights."""
    spans = [one for one in find_spans(data, format_of(data, name)).spans if one.kind == "weights"]
    weights = np.concatenate(
        [np.frombuffer(data, np.uint8, one.size_bytes, one.offset) for one in spans]
    )
    order_0 = entropy_bits(np.bincount(weights)) / weights.size
    groups = [one for one in summary.groups if one.content == "weights"]
    inside = sum(one.original_bytes for one in groups)
    taken = sum(one.package_bytes for one in groups) + weights.size - inside
    bits = 8 * taken / weights.size
    return {
        "weight_bits": bits,
        "order_0_bits": order_0,
        "less_than_order_0_share": 1 - bits / order_0,
    }


def _decoding(packages: dict[str, bytes], xz: bytes, rounds: int) -> Row:
    """How many times as fast as xz the packages are decoded."""

    def restore(content: bytes) -> None:
        decode.restore(container.read(content))

    measured = interleaved(
        {
            "xz": timed(lambda: lzma.decompress(xz)),
            **{name: timed(partial(restore, content)) for name, content in packages.items()},
        },
        rounds,
    )
    plain, brotli = measured.ratio("xz", "package"), measured.ratio("xz", "brotli")
    return {
        "decode_ratio": plain.value,
        "decode_ratio_low": plain.low,
        "decode_ratio_high": plain.high,
        "brotli_decode_ratio": brotli.value,
        "fast_decode_ratio": measured.ratio("xz", "fast").value,
    }


def _brotli_bytes(data: bytes) -> int:
    import brotli

    return len(brotli.compress(data, quality=11, lgwin=24))


def _peak_ratio(package: bytes, file_bytes: int) -> float | None:
    """The peak of what unpacking adds to a process, over the file's size; Linux alone can tell."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        path = Path(folder) / "a.ewp"
        path.write_bytes(package)
        argv = [sys.executable, "-c", _PEAK, str(path), str(path.with_name("out"))]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(json.loads(done.stdout)) / file_bytes


def peers_python() -> Path | None:
    """The peers' environment, made on the first run; None, with a line on stderr, without one."""
    python = PEERS / "bin" / "python"
    requirements = FOLDER / "package.txt"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(requirements)]
    if not (PEERS / "ready").exists():
        for argv in ([sys.executable, "-m", "venv", str(PEERS)], install):
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, timeout=PIP_TIMEOUT_S
            )
            if done.returncode != 0:
                print(f"SKIPPED the peers: {done.stderr.strip()[-300:]}", file=sys.stderr)
                return None
        (PEERS / "ready").touch()
    return python


def peer_size(python: Path | None, peer: str, *paths: Path) -> int | None:
    """How many bytes a peer takes; None without one."""
    if python is None:
        return None
    argv = [str(python), str(FOLDER / "package_sizes.py"), peer, *map(str, paths)]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def peer_versions(python: Path | None) -> dict[str, str]:
    """The versions in the peers' environment."""
    if python is None:
        return {}
    argv: Sequence[str] = [str(python), "-m", "pip", "list", "--format", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    wanted = {"zstandard", "bsdiff4", "rapidocr-onnxruntime"}
    return {
        one["name"]: one["version"]
        for one in json.loads(done.stdout)
        if one["name"].replace("_", "-") in wanted
    }


if __name__ == "__main__":
    main()
