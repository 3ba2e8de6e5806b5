"""Compression: how small the package of an int8 .tflite gets, and what accuracy it costs.

Real networks with all their parameters on Fashion-MNIST. Each is trained (the baseline); from there
it is compressed by a recipe of ours (pruned gradually, few levels, QAT), and, apart from that, a
control is trained as long as the compression trains. Both are judged on all 10,000 test pictures:
`accuracy_drop_pt` is control minus compressed, `stderr_pt` the standard error of that paired
difference over pictures. `ratio` is the bytes of all fp32 parameters over those of the .ewp package
that restores the .tflite byte for byte; `estimate_ratio` is the size that training showed last over
that package's. Rows of the ladder (8-bit PTQ, 8-bit QAT, pruned, pruned + QAT) stand beside the
figures of the source, which are ImageNet's and idealised sizes.

Builds lie under build/compression and are taken up where they were left; results are written behind
every network. --more keeps the rows of the networks and seeds that a run does not measure: each row
has its own date and kind of machine, the commit is that of the last run. `epochs` are those of the
baseline, and of everything that starts from it. --quick is ResNet-20 with a third of the pictures
and fewer epochs.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.machine import this_machine
from benchmarks.results import ROOT, Value, arguments, kept_rows, publish

BUILDS: Final = ROOT / "build" / "compression"
EXAMPLE: Final = ROOT / "examples" / "fashion"
MEAN, STD = 0.2860, 0.3530
"""Of Fashion-MNIST's training pictures, in units of full scale."""

Row = dict[str, Value]


@dataclass(frozen=True)
class Network:
    """A network, its pictures, and the recipe that compresses it.

    Attributes:
        factory: callable that makes it.
        shape: its input.
        pictures: suffix of the data sets in examples/fashion.
        fewer: whether it trains on the first 20,000 pictures only.
        arguments: of the factory.
        weights: where it starts; None for random weights.
        baseline: epochs and learning rate of the baseline.
        sparsity: pruned to this.
        prune, share, qat: epochs and learning rates of the three stretches.
        optimizer: of all stretches.
        step: of the levels, in units of a layer's root mean square.
        exempt: layers that keep all their weights.
        dropout: of the factory, where it takes one. What is pruned has this times the root of the
            share of weights that stay (S. Han et al., arXiv:1506.02626, section 3.2).
        distill: whether what is compressed learns the control's outputs beside the labels.
        seeds: how many runs.
        ladder: whether the rows in between are measured too.
    """

    factory: str
    shape: str
    pictures: str = ""
    fewer: bool = True
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    baseline: tuple[float, float] = (6, 0.1)
    sparsity: float = 0.95
    prune: tuple[float, float] = (5, 0.05)
    share: tuple[float, float] = (2, 0.02)
    qat: tuple[float, float] = (1, 0.003)
    optimizer: str = "sgd"
    step: float = 0.35
    exempt: tuple[str, ...] = ("conv1",)
    dropout: float | None = None
    distill: bool = False
    seeds: int = 1
    ladder: bool = False

    @property
    def epochs(self) -> float:
        """What compression trains, and the control as well."""
        return self.prune[0] + self.share[0] + self.qat[0]

    def fit(self, epochs: float, lr: float) -> dict[str, Any]:
        """A stretch of training as a recipe has it."""
        return {"epochs": epochs, "lr": lr, "optimizer": self.optimizer}


TEN: Final = {"num_classes": 10}
NETWORKS: Final[dict[str, Network]] = {
    "ResNet-20": Network(
        "fashion:resnet20", "1x1x28x28", fewer=False, seeds=2, sparsity=0.954, distill=True
    ),
    "ResNet-50": Network(
        "examples.models:resnet50", "1x3x32x32", "_rgb32", ladder=True,
        arguments=TEN | {"zero_init_residual": True},
        sparsity=0.88, distill=True,
        baseline=(5, 0.05), prune=(3.25, 0.03), share=(1.25, 0.015), qat=(0.5, 0.003),
    ),
    "AlexNet": Network(
        "examples.models:alexnet", "1x3x64x64", "_rgb64", fewer=False, arguments=TEN,
        baseline=(2, 3e-4), sparsity=0.925, prune=(3, 3e-4), share=(1.5, 2e-4), qat=(0.5, 3e-5),
        exempt=("features.0",), optimizer="adamw", dropout=0.5, distill=True,
    ),
    "MobileNetV2": Network(
        "pretrained:mobilenet_v2", "1x3x64x64", "_rgb64", exempt=("features.0.0",),
        baseline=(2, 0.01), sparsity=0.6, prune=(2.75, 0.01), share=(1, 0.005), qat=(0.25, 0.001),
        step=0.25, distill=True,
    ),
    "VGG-16": Network(
        "examples.models:vgg16_bn", "1x3x32x32", "_rgb32", arguments=TEN, exempt=("features.0",),
        baseline=(2, 0.01), sparsity=0.95, prune=(7, 0.01), share=(4, 0.008), qat=(1, 0.001),
        dropout=0.5, distill=True,
    ),
}  # fmt: skip
QUICK: Final = {
    "ResNet-20": replace(
        NETWORKS["ResNet-20"], fewer=True, seeds=1, ladder=True,
        baseline=(2, 0.1), prune=(1.5, 0.05), share=(0.5, 0.02), qat=(0.25, 0.003),
    )
}  # fmt: skip
BATCH: Final = 16  # pictures that a shipped file is given at once; it names them as it does alone
STATISTICS: Final = ("running_mean", "running_var", "num_batches_tracked")
SOURCE: Final = {
    "fp32": (97.8, None),
    "8-bit PTQ": (24.5, 0.5),
    "8-bit QAT": (24.5, 0.3),
    "pruned 90 %": (9.8, 0.7),
    "pruned 90 % + QAT": (2.4, 0.9),
}
"""Table 1 of our source for ResNet-50 on ImageNet: MB, and points of accuracy lost."""


def main() -> None:
    """Build, judge, print, write."""
    parser = arguments(__doc__, more=True)
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="all by default")
    parser.add_argument("--seed", action="append", type=int, help="all of a network by default")
    parser.add_argument(
        "--no-ladder", action="store_true", help="only the control, PTQ, and the smallest package"
    )
    options = parser.parse_args()
    rows = kept_rows("compression", options)
    for measured in measure(options):
        rows = together(rows, measured)
        publish("compression", rows, options)


def measure(options: argparse.Namespace) -> Iterator[list[Row]]:
    """The rows of each network and seed."""
    networks = QUICK if options.quick else NETWORKS
    for name in [name for name in options.network or networks if name in networks]:
        network = networks[name]
        if options.no_ladder:
            network = replace(network, ladder=False)
        for seed in options.seed or range(network.seeds):
            yield rows_of(name, network, seed, quick=options.quick)


def together(rows: list[Row], measured: list[Row]) -> list[Row]:
    """Rows with new ones in place of those of the same network and seed, in the networks' order."""
    new = {(row["network"], row["seed"]) for row in measured}
    kept = [row for row in rows if (row["network"], row["seed"]) not in new]
    order = list(NETWORKS)
    return sorted(kept + measured, key=lambda row: (order.index(str(row["network"])), row["seed"]))


def rows_of(name: str, network: Network, seed: int, *, quick: bool) -> list[Row]:
    """The rows of one network and one seed."""
    folder = BUILDS / f"{name}{'-quick' if quick else ''}-{seed}"
    common: Row = {
        "network": name,
        "dataset": dataset_of(network),
        "epochs": f"{network.baseline[0]:g} + {network.epochs:g}",
        "seed": seed,
    }
    shorter = {"train": network.fit(*network.baseline)}
    baseline = build(folder / "baseline", network, seed, shorter, until="train")
    start = baseline / "stages" / "fp32.safetensors"
    longer = {"train": network.fit(network.epochs, network.prune[1])}
    control = build(folder / "control", network, seed, longer, start, until="verify")
    right = correct(control, network, "fp32.tflite")
    rows = [
        common | row_of("fp32, trained longer (control)", control, "fp32.tflite", right, right),
        common | judged("8-bit PTQ", control, network, right),
    ]
    for label, sections in recipes(network, control / "stages" / "fp32.safetensors").items():
        place = folder / label.replace(" ", "-")
        directory = build(place, network, seed, sections, start, until="verify")
        rows.append(common | judged(label, directory, network, right))
    if name == "ResNet-50":
        rows = [row | beside(str(row["method"])) for row in rows]
    machine = this_machine()
    made: Row = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": ", ".join([machine.cpu, *(machine.features or ())]),
    }
    return [row | made for row in rows]


def beside(label: str) -> Row:
    """The source's figures for a row of its table."""
    size_mb, drop_pt = SOURCE.get(label, (None, None))
    return {"source_mb": size_mb, "source_drop_pt": drop_pt}


def recipes(network: Network, control: Path) -> dict[str, dict[str, Any]]:
    """What is trained from the baseline, each as long as the control, whose weights may teach."""
    exempt = {"exempt": list(network.exempt)}
    prune = network.fit(*network.prune) | exempt
    share = network.fit(*network.share) | {"step": network.step}
    qat = network.fit(*network.qat)
    final = f"pruned {100 * network.sparsity:g} %, few levels, QAT"
    sections = {"prune": prune | {"sparsity": network.sparsity}, "share": share, "quantize": qat}
    if network.dropout is not None:
        dropout = network.dropout * (1 - network.sparsity) ** 0.5
        sections["model"] = {"arguments": network.arguments | {"dropout": dropout}}
    if network.distill:
        final += ", distilled"
        sections["distill"] = {
            "factory": network.factory,
            "arguments": network.arguments,
            "weights": str(control),
        }
    whole = {final: sections}
    if not network.ladder:
        return whole
    return whole | {
        "8-bit QAT": {
            "train": network.fit(network.epochs - network.qat[0], network.prune[1]),
            "quantize": qat,
        },
        "pruned 90 %": {
            "prune": network.fit(network.epochs, network.prune[1]) | exempt | {"sparsity": 0.9}
        },
        "pruned 90 % + QAT": {"prune": prune | {"sparsity": 0.9}, "share": share, "quantize": qat},
    }


def build(
    directory: Path,
    network: Network,
    seed: int,
    sections: dict[str, Any],
    start: Path | None = None,
    until: str | None = None,
) -> Path:
    """Run a recipe, or take up what is left of it; returns the build directory."""
    from exporter.pipeline import build as run
    from exporter.progress import Bars
    from exporter.recipe import Recipe
    from exporter.settings import validate
    from exporter.terminal import console
    from exporter.train import computes_bf16

    weights = start or network.weights
    model = {"factory": network.factory, "arguments": network.arguments}
    if weights is not None:
        model["weights"] = str(weights)
    sections = sections | {"model": model | sections.get("model", {})}
    document = {
        "name": "net",
        "seed": seed,
        "input": {"shape": network.shape, "mean": [MEAN], "std": [STD]},
        "data": {
            "train": f"fashion:train{network.pictures}{'_20k' if network.fewer else ''}",
            "test": f"fashion:test{network.pictures}",
            "batch_size": 128,
            "calibration_samples": 1024,
        },
        "loop": {"precision": "bf16" if computes_bf16() else "fp32"},
        "bench": None,
    }
    recipe = validate(document | sections, Recipe, Path("benchmarks/compression.py"))
    print(f"== {directory.relative_to(BUILDS)}", flush=True)
    run(recipe, EXAMPLE, directory, resume=True, reporter=Bars(console()), until=until)
    return directory


def dataset_of(network: Network) -> str:
    """What it was trained on."""
    side = network.shape.split("x", 2)[2]
    count = "20,000 training pictures" if network.fewer else "all training pictures"
    return f"Fashion-MNIST, {side}, {count}"


def judged(label: str, directory: Path, network: Network, control: np.ndarray) -> Row:
    """The row of a build's int8 .tflite."""
    right = correct(directory, network, "int8.tflite")
    return row_of(label, directory, "int8.tflite", right, control)


def row_of(label: str, directory: Path, suffix: str, right: np.ndarray, control: np.ndarray) -> Row:
    """A row: `right` [N] and the control's say of each picture whether it was named rightly."""
    file = directory / f"net.{suffix}"
    package = file.with_name(f"{file.name}.ewp")
    fp32_bytes = parameter_bytes(directory)
    size = package.stat().st_size if package.exists() else None
    difference = control.astype(np.float64) - right
    same = right is control
    return {
        "method": label,
        "accuracy": float(right.mean()),
        "accuracy_drop_pt": None if same else 100 * float(difference.mean()),
        "stderr_pt": None
        if same
        else 100 * float(difference.std(ddof=1)) / float(np.sqrt(len(difference))),
        "sparsity": None if same else zeros(directory),
        "fp32_bytes": fp32_bytes,
        "file_bytes": file.stat().st_size,
        "package_bytes": size,
        "ratio": None if same or size is None else fp32_bytes / size,
        "estimate_ratio": None if same or size is None else estimated(directory, size),
    }


def estimated(directory: Path, package_bytes: int) -> float | None:
    """The last size that was shown while training, over the package's; None where none was."""
    with (directory / "training.csv").open(encoding="utf-8", newline="") as file:
        sizes = [row["coded_bytes"] for row in csv.DictReader(file) if row["coded_bytes"]]
    return int(sizes[-1]) / package_bytes if sizes else None


def parameter_bytes(directory: Path) -> int:
    """Bytes of all fp32 parameters; batch norms' statistics are none."""
    from safetensors import safe_open

    total = 0
    with safe_open(directory / "stages" / "fp32.safetensors", framework="np") as file:
        for key in file.keys():  # noqa: SIM118 (safetensors' handle is no mapping)
            if key.endswith(STATISTICS):
                continue
            total += 4 * int(np.prod(file.get_slice(key).get_shape(), dtype=np.int64))
    return total


def zeros(directory: Path) -> float:
    """The share of zeros among the weights of the shipped .tflite."""
    from exporter.layers import layer_rows

    rows = layer_rows(directory / "net.int8.tflite")
    weights = sum(row.weights for row in rows)
    return sum(row.zeros for row in rows) / max(1, weights)


def correct(directory: Path, network: Network, suffix: str) -> np.ndarray:
    """For each test picture, whether the shipped file names its class: bool [N]."""
    from exporter.recipe import resolve
    from runtimes.backend import open_model
    from runtimes.smoke import feed

    frames, labels = resolve(f"fashion:test{network.pictures}", EXAMPLE)().tensors
    backend = open_model(directory / f"net.{suffix}")
    try:
        (outputs,) = feed(backend, [frames.numpy()], BATCH)
    finally:
        backend.close()
    right: np.ndarray = outputs.argmax(1) == labels.numpy()
    return right


if __name__ == "__main__":
    main()
