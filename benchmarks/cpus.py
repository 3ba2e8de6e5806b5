"""One model, one answer, on CPUs that this machine is not: every example network under emulation.

Each network's narrow variant (the whole one with --whole) is exported by post-training
quantization, and its int8 .tflite (LiteRT with XNNPACK) and .onnx (ONNX Runtime) run here and on
emulated CPUs: x86-64 with AVX2 alone and with SSE4.2 alone, and the Arm cores of a Raspberry Pi 3,
4 and 5. Weights are random, made lively (`examples.models.settle`); frames are random pictures.
Values are compared with those that the .onnx gave here. --quick takes one network. Results are
written after every network, so a run that was cut short has fewer rows; --more goes on with the
networks that the results lack (date and commit are then those of the last run).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.machine import this_machine
from benchmarks.results import Value, arguments, kept_rows, publish
from benchmarks.zoo import recipe_of

if TYPE_CHECKING:
    from exporter.build import Certificate, CpuComparison, OutputComparison

QUICK: Final = ("resnet8",)
SAMPLES: Final = 2
HERE: Final = "this machine"
Row = dict[str, Value]


def main() -> None:
    """Export each network, run it everywhere; print and write the table."""
    from examples.models import ZOO

    parser = arguments(__doc__, more=True)
    parser.add_argument("--network", action="append", choices=list(ZOO), help="all by default")
    parser.add_argument("--whole", action="store_true", help="not the narrow variants")
    options = parser.parse_args()
    rows = kept_rows("cpus", options)
    have = {row["network"] for row in rows}
    for name in options.network or (QUICK if options.quick else ZOO):
        if name in have:
            continue
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            rows += measure(name, Path(folder), small=not options.whole)
        publish("cpus", rows, options)


def measure(name: str, folder: Path, *, small: bool) -> list[Row]:
    """One network: a row for each CPU."""
    from exporter.pipeline import build
    from exporter.progress import Bars
    from exporter.terminal import console
    from exporter.verify.cpus import certify_on_cpus

    recipe = recipe_of(name, folder, small=small, samples=SAMPLES)
    reporter = Bars(console())
    build(recipe, Path(__file__).parents[1], folder / "build", reporter=reporter)
    certificate = certify_on_cpus(folder / "build", reporter=reporter)
    about: Row = {"network": name, "size": "narrow" if small else "whole", "samples": SAMPLES}
    return [about | row for row in by_cpu(certificate)]


def by_cpu(certificate: Certificate) -> list[Row]:
    """What a certificate says of the int8 files: one row for this machine and each other CPU."""
    here = [row for row in certificate.outputs if row.decides]
    rows = [_compared(HERE, ", ".join(this_machine().features or ("unknown",)), here)]
    for name in dict.fromkeys(row.cpu for row in certificate.cpus):
        there = [row for row in certificate.cpus if row.cpu == name]
        rows.append(_compared(name, there[0].features, there))
    return rows


def _compared(cpu: str, features: str, files: Sequence[OutputComparison | CpuComparison]) -> Row:
    return {
        "cpu": cpu,
        "features": features,
        "files": len(files),
        "values": sum(row.values for row in files),
        "differing": sum(row.differing for row in files),
        "max_lsb": max(row.max_lsb for row in files),
        "failed": "; ".join(filter(None, (getattr(row, "not_run", "") for row in files))),
    }


if __name__ == "__main__":
    main()
