"""Channel pruning: int8 latency follows the MACs, ResNet-18 at 224x224 with one thread.

Wide and narrow files take turns in fresh processes, as `edgewright bench --vs` has them; the ratio
is the median of the rounds' ratios, with the bounds that hold it with 95 % confidence. The weights
are random and the widths the same share of every layer: neither changes the time of a width.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.lowering import write_canonical
from benchmarks.results import ROOT, Value, arguments, publish

if TYPE_CHECKING:
    from torch import nn

SHAPE: Final = (1, 3, 224, 224)
MACS: Final = 0.58
ROUNDS: Final = 15
QUICK_ROUNDS: Final = 6
SECONDS: Final = 15.0
QUICK_SECONDS: Final = 2.0
LIMITS: Final = {"tflite": 0.65, "onnx": 0.70}
RUNTIMES: Final = {"tflite": "LiteRT, XNNPACK", "onnx": "ONNX Runtime"}

Row = dict[str, Value]


def main() -> None:
    """Build the four files, measure them; print and write the table."""
    options = arguments(__doc__).parse_args()
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if options.quick else (ROUNDS, SECONDS)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        rows = measure(Path(folder), rounds, seconds)
    publish("channels", rows, options)


def measure(folder: Path, rounds: int, seconds: float) -> list[Row]:
    """One row a runtime."""
    from devices.session import open_device
    from devices.versus import bench_in_turns

    share, widths = write_files(folder)
    rows: list[Row] = []
    with open_device("local") as session:
        for suffix, runtime in RUNTIMES.items():
            wide, narrow = folder / f"wide.{suffix}", folder / f"narrow.{suffix}"
            found = bench_in_turns(session, wide, [narrow], seconds=seconds, rounds=rounds)
            ratio = found.ratios[0]
            rows.append(
                {
                    "network": "ResNet-18",
                    "widths": widths,
                    "runtime": runtime,
                    "macs_share": share,
                    "file_bytes": narrow.stat().st_size,
                    "wide_file_bytes": wide.stat().st_size,
                    "wide_ms_p50": found.benched[0].row.p50_ms,
                    "latency_ms_p50": found.benched[1].row.p50_ms,
                    "latency_ratio": ratio.ratio,
                    "low_ratio": ratio.low,
                    "high_ratio": ratio.high,
                    "limit_ratio": LIMITS[suffix],
                    "rounds": rounds,
                }
            )
    return rows


def write_files(folder: Path) -> tuple[float, str]:
    """The int8 files of both networks; gives the share of the MACs that is left, and the widths."""
    import torch

    from exporter.compress.channels import Channels, prune_channels

    wide = _resnet18()
    narrow = _resnet18()
    target = Channels(macs=MACS, scope="uniform")
    chosen = prune_channels(narrow, torch.zeros(SHAPE), target).chosen
    for name, module in (("wide", wide), ("narrow", narrow)):
        _write(module, folder, name)
    stages = [getattr(narrow, f"layer{number}")[0].conv1.out_channels for number in range(1, 5)]
    return chosen.after / chosen.before, ", ".join(map(str, stages))


def _resnet18() -> nn.Module:
    import torch

    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from examples.models import ZOO

    torch.set_num_threads(1)
    return ZOO["resnet18"].make()


def _write(module: nn.Module, folder: Path, name: str) -> None:
    import onnx_ir as ir

    from exporter.graph.read import read_file
    from exporter.ort import qdq
    from exporter.tflite import lower

    canonical = folder / f"{name}.qdq.onnx"
    write_canonical(module, SHAPE, canonical)
    (folder / f"{name}.tflite").write_bytes(lower(read_file(canonical)))
    ir.save(qdq.lower(ir.load(canonical)), folder / f"{name}.onnx", format="protobuf")


if __name__ == "__main__":
    main()
