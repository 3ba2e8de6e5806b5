"""A realistic build directory out of thin air: no model is trained, converted or run.

The figures are those of a small digits network; the files hold repeated bytes of the right size.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.build import (
    ACCURACY,
    BENCH,
    CERTIFICATE,
    MANIFEST,
    SMOKE,
    Accuracy,
    AccuracyRow,
    Artifact,
    Bench,
    BenchRow,
    Certificate,
    CheckResult,
    Manifest,
    OutputComparison,
    PackageInfo,
    Smoke,
    SmokeRow,
    StageAccuracy,
    TensorInfo,
    save_json,
)
from exporter.contents import CONTENTS, Contents, FileContents, LayerRow, OperatorUse

TFLITE = "digits.int8.tflite"
ONNX = "digits.int8.onnx"
FP32 = "digits.fp32.onnx"

FILE_BYTES = {
    FP32: 312_640,
    "digits.fp32.tflite": 310_400,
    TFLITE: 84_216,
    ONNX: 88_904,
    "digits.int8.ort": 91_312,
}
PACKAGE_BYTES = {TFLITE: 14_902, ONNX: 15_310}

HASH = hashlib.sha256(b"outputs").hexdigest()
BUILTIN_HASH = hashlib.sha256(b"outputs of the builtin kernels").hexdigest()


def write_build(directory: Path) -> Path:
    """Write every file of a finished build into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    save_json(directory / MANIFEST, _manifest(directory))
    save_json(directory / ACCURACY, _accuracy())
    save_json(directory / CERTIFICATE, _certificate())
    save_json(directory / BENCH, _bench())
    save_json(directory / SMOKE, _smoke())
    save_json(directory / CONTENTS, _contents(directory))
    return directory


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Load a JSON file, let `change` alter the document, write it back."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def rename_everywhere(directory: Path, old: str, new: str) -> None:
    """Give one artifact's file another name, hostile ones included, in every document."""
    (directory / old).rename(directory / new)
    for name in (MANIFEST, ACCURACY, CERTIFICATE, BENCH, SMOKE, CONTENTS):
        path = directory / name
        text = path.read_text(encoding="utf-8")
        quoted = json.dumps(new)
        path.write_text(text.replace(json.dumps(old), quoted), encoding="utf-8")


def _file(path: Path, size: int) -> str:
    data = (path.name.encode() * (size // len(path.name) + 1))[:size]
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _manifest(directory: Path) -> Manifest:
    return Manifest(
        name="digits",
        created="2025-03-14T09:26:53Z",
        versions={
            "edgewright": "0.1.0",
            "python": "3.11.7",
            "torch": "2.9.1",
            "onnxruntime": "1.32.0",
            "ai-edge-litert": "2.3.0",
        },
        source="examples/digits/recipe.toml",
        artifacts=tuple(_artifact(directory, name) for name in FILE_BYTES),
    )


def _artifact(directory: Path, name: str) -> Artifact:
    _, precision, form = name.split(".")
    quantized = precision == "int8"
    package = None
    if name in PACKAGE_BYTES:
        path = f"{name}.ewp"
        sha256 = _file(directory / path, PACKAGE_BYTES[name])
        package = PackageInfo(path=path, bytes=PACKAGE_BYTES[name], sha256=sha256)
    return Artifact(
        name=name,
        format=form,
        precision=precision,
        path=name,
        bytes=FILE_BYTES[name],
        sha256=_file(directory / name, FILE_BYTES[name]),
        inputs=(
            TensorInfo(
                name="image",
                shape=(None, 28, 28, 1) if form == "tflite" else (None, 1, 28, 28),
                dtype="uint8" if quantized else "float32",
                layout="NHWC" if form == "tflite" else "NCHW",
                scale=1 / 255 if quantized else None,
                zero_point=0 if quantized else None,
            ),
        ),
        outputs=(
            TensorInfo(
                name="logits",
                shape=(None, 10),
                dtype="int8" if quantized else "float32",
                scale=0.1732 if quantized else None,
                zero_point=-12 if quantized else None,
            ),
        ),
        package=package,
    )


def _accuracy() -> Accuracy:
    return Accuracy(
        dataset="digits, 1,000 test images",
        samples=1000,
        rows=(
            _accuracy_row(FP32, "onnxruntime", 983),
            _accuracy_row(TFLITE, "litert", 979),
            _accuracy_row(ONNX, "onnxruntime", 979),
        ),
        stages=(
            StageAccuracy(stage="fp32", accuracy=0.983, sparsity=0.0, weight_bytes=304_128),
            StageAccuracy(stage="pruned", accuracy=0.981, sparsity=0.9, weight_bytes=41_300),
            StageAccuracy(stage="shared", accuracy=0.977, sparsity=0.9, weight_bytes=13_840),
            StageAccuracy(stage="QAT", accuracy=0.980, sparsity=0.9, weight_bytes=13_790),
        ),
    )


def _accuracy_row(artifact: str, runtime: str, correct: int) -> AccuracyRow:
    return AccuracyRow(
        artifact=artifact,
        runtime=runtime,
        accuracy=correct / 1000,
        correct=correct,
        # The subtraction is kept as it is, with its last digit off: the gate must bear it.
        drop_pt=(983 / 1000 - correct / 1000) * 100,
        agreement=1.0 if correct == 983 else 0.991,
    )


def _certificate() -> Certificate:
    return Certificate(
        verdict="clean",
        samples=256,
        checks=(
            CheckResult(
                name="scales and weights equal the canonical graph's",
                passed=True,
                detail="14 tensors in 2 files",
            ),
            CheckResult(name="no float tensor but the named islands", passed=True, detail="0 left"),
            CheckResult(name="the pair rule holds", passed=True, detail="5 dense layers"),
        ),
        outputs=(
            _comparison(TFLITE, "LiteRT, XNNPACK"),
            _comparison(ONNX, "ONNX Runtime"),
            OutputComparison(
                artifact=TFLITE,
                runtime="LiteRT, builtin kernels",
                sha256=BUILTIN_HASH,
                values=2560,
                differing=212,
                max_lsb=2,
                decides=False,
            ),
        ),
    )


def _comparison(artifact: str, runtime: str) -> OutputComparison:
    return OutputComparison(
        artifact=artifact, runtime=runtime, sha256=HASH, values=2560, differing=0, max_lsb=0
    )


def _bench() -> Bench:
    return Bench(
        created="2025-03-14T09:31:02Z",
        rows=(
            bench_row(FP32, "onnxruntime", "1.32.0", median_ms=0.92),
            bench_row(TFLITE, "litert", "2.3.0", median_ms=0.31, delegate="xnnpack"),
            bench_row(ONNX, "onnxruntime", "1.32.0", median_ms=0.38),
        ),
        device_state={"local": {"governor": "performance"}},
    )


def _smoke() -> Smoke:
    return Smoke(
        created="2025-03-14T09:32:20Z",
        rows=(
            _smoke_row(TFLITE, "litert"),
            _smoke_row(f"{TFLITE}.ewp", "litert"),
            _smoke_row(ONNX, "onnxruntime"),
        ),
    )


def _smoke_row(file: str, runtime: str) -> SmokeRow:
    return SmokeRow(
        device="local",
        file=file,
        runtime=runtime,
        runtime_version="2.3.0",
        delegate="default",
        samples=256,
        values=2560,
        sha256=HASH,
        passed=True,
    )


def _contents(directory: Path) -> Contents:
    """Four convolutions of growing width, and one float operator in the .onnx."""
    hashes = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in (TFLITE, ONNX)
    }
    layers = tuple(
        LayerRow(
            name="conv1" if i == 0 else f"layer{i}.conv",
            operator="CONV_2D",
            weights=288 * 4**i,
            zeros=250 * 4**i,
            distinct_levels=19 - i,
            bytes=288 * 4**i,
            entropy_bits=2.5 if i == 0 else 2.5 / 6,
            macs=288 * 4**i * 784 // 4**i if i < 1 else 288 * 4**i * 196,
            activation_bytes=6272 // 2**i,
        )
        for i in range(4)
    )
    return Contents(
        files=(
            FileContents(
                artifact=TFLITE,
                sha256=hashes[TFLITE],
                operators=(
                    OperatorUse(code="ADD", version=2, count=3),
                    OperatorUse(code="CONV_2D", version=3, count=9),
                    OperatorUse(code="FULLY_CONNECTED", version=4, count=1),
                ),
                layers=layers,
            ),
            FileContents(
                artifact=ONNX,
                sha256=hashes[ONNX],
                operators=(
                    OperatorUse(code="HardSwish", version=20, count=2, floats=2),
                    OperatorUse(code="QLinearConv", version=20, count=9),
                ),
            ),
        )
    )


def bench_row(
    artifact: str, runtime: str, version: str, *, median_ms: float, delegate: str = "none"
) -> BenchRow:
    """One measurement with a tail, as real ones have; the same for the same arguments."""
    samples = sorted(
        median_ms * (1 + 0.05 * math.sin(7.0 * i) + 0.4 * math.exp(-((i % 97) / 3.0)))
        for i in range(600)
    )
    mib = 1 << 20
    before = 31 * mib
    return BenchRow(
        artifact=artifact,
        device="local",
        runtime=runtime,
        runtime_version=version,
        delegate=delegate,
        threads=1,
        load_ms=median_ms * 6,
        first_ms=median_ms * 3,
        samples_ms=tuple(samples),
        p50_ms=samples[300],
        p90_ms=samples[540],
        p99_ms=samples[594],
        mean_ms=sum(samples) / len(samples),
        std_ms=median_ms * 0.06,
        memory_before_bytes=before,
        memory_loaded_bytes=before + int(4.2 * mib),
        peak_load_bytes=before + int(4.4 * mib),
        peak_inference_bytes=before + int((5 + median_ms) * mib),
        valid=True,
    )
