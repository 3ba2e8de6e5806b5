"""What is found out about the shipped files: parity, accuracy, speed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from devices.session import open_device
from exporter.benching import bench_document
from exporter.build import (
    ACCURACY,
    BENCH,
    CERTIFICATE,
    MANIFEST,
    Accuracy,
    AccuracyRow,
    Artifact,
    Manifest,
    StageAccuracy,
    load_json,
    save_json,
)
from exporter.measuring import Plan, measure
from exporter.stages.context import Context, Figures
from exporter.stages.ship import golden_samples, save_npz
from exporter.verify.certificate import certify
from exporter.verify.layers import layer_errors, with_layers
from exporter.verify.parity import as_reals, run_artifact, top1

TOP1 = "top-1"
CHUNK_BYTES = 128 * 2**20
BATCH_BYTES = 2**18
LARGEST_BATCH = 32
RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT", "ort": "ONNX Runtime"}
STAGE_TITLES = {
    "train": "fp32",
    "channels": "narrowed",
    "prune": "pruned",
    "share": "shared",
    "quantize": "QAT",
}


def verify(context: Context) -> Figures:
    """Write certificate.json, with every layer alone where the recipe asks for it."""
    certificate = certify(context.directory, context.reporter)
    if context.recipe.verify.layers:
        errors = layer_errors(context.directory, reporter=context.reporter)
        certificate = with_layers(certificate, errors)
    save_json(context.directory / CERTIFICATE, certificate)
    return {}


def accuracy(context: Context, stages: dict[str, Figures]) -> Figures:
    """Write accuracy.json: every shipped file over the whole test set, in its own runtime."""
    manifest = load_json(context.directory / MANIFEST, Manifest)
    answers = _judge_all(context, manifest)
    reference = answers[f"{manifest.name}.fp32.onnx"]
    document = Accuracy(
        dataset=str(context.recipe.data.test),
        metric=context.recipe.data.score or TOP1,
        samples=len(reference.scores),
        rows=tuple(
            _accuracy_row(artifact, answers[artifact.name], reference)
            for artifact in manifest.artifacts
        ),
        stages=tuple(
            StageAccuracy(
                stage=STAGE_TITLES[name],
                accuracy=figures["accuracy"],
                sparsity=figures["sparsity"],
                weight_bytes=round(figures["weight_bytes"]),
            )
            for name, figures in stages.items()
            if name in STAGE_TITLES and "accuracy" in figures
        ),
    )
    save_json(context.directory / ACCURACY, document)
    return {}


@dataclass(frozen=True)
class Answers:
    """What a file made of the test set.

    Attributes:
        scores: [N], in [0, 1].
        classes: that were named, [N]; None with a score of the recipe's own.
    """

    scores: np.ndarray
    classes: np.ndarray | None


def _accuracy_row(artifact: Artifact, found: Answers, reference: Answers) -> AccuracyRow:
    correct = agreement = None
    if found.classes is not None and reference.classes is not None:
        correct = round(float(found.scores.sum()))
        agreement = float(np.mean(found.classes == reference.classes))
    return AccuracyRow(
        artifact=artifact.name,
        runtime=RUNTIMES[artifact.format],
        accuracy=float(found.scores.mean()),
        correct=correct,
        drop_pt=100.0 * float(reference.scores.mean() - found.scores.mean()),
        agreement=agreement,
    )


def _judge_all(context: Context, manifest: Manifest) -> dict[str, Answers]:
    """The answers of each artifact, by its name; the data goes through in chunks."""
    score, classifies = context.task.score, context.recipe.data.score is None
    scores: dict[str, list[np.ndarray]] = {artifact.name: [] for artifact in manifest.artifacts}
    classes: dict[str, list[np.ndarray]] = {artifact.name: [] for artifact in manifest.artifacts}
    dataset = context.dataset("test")
    total = len(dataset)  # type: ignore[arg-type]
    with (
        context.reporter.stage("accuracy of the files", total) as advance,
        open_device("local") as session,
        tempfile.TemporaryDirectory(prefix="edgewright-") as folder,
    ):
        chunk = Path(folder) / "chunk.npz"
        for inputs, targets in _chunks(context):
            save_npz(chunk, {"input.0": inputs})
            batch = batch_of(inputs)
            for artifact in manifest.artifacts:
                path = context.directory / artifact.path
                outputs, _ = run_artifact(session, path, artifact, chunk, batch=batch)
                reals = tuple(torch.from_numpy(array) for array in as_reals(outputs, artifact))
                given = reals if len(reals) > 1 else reals[0]
                scores[artifact.name].append(score(given, torch.from_numpy(targets)).numpy())
                if classifies:
                    classes[artifact.name].append(top1(outputs[0]))
            advance(len(inputs), "")
    return {
        name: Answers(np.concatenate(parts), np.concatenate(classes[name]) if classifies else None)
        for name, parts in scores.items()
    }


def batch_of(inputs: np.ndarray) -> int:
    """How many samples of [N, ...] go in at once: what values between layers take stays bounded."""
    return max(1, min(LARGEST_BATCH, BATCH_BYTES * len(inputs) // inputs.nbytes))


def _chunks(context: Context) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The test set in pieces that fit into memory several times over."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for samples, targets in golden_samples(context):
        inputs.append(samples)
        labels.append(targets)
        if sum(part.nbytes for part in inputs) >= CHUNK_BYTES:
            yield np.concatenate(inputs), np.concatenate(labels)
            inputs, labels = [], []
    if inputs:
        yield np.concatenate(inputs), np.concatenate(labels)


def bench(context: Context) -> Figures:
    """Write bench.json: every shipped file on this machine."""
    section = context.recipe.bench
    if section is None:
        raise ValueError("the recipe has no [bench] section")
    manifest = load_json(context.directory / MANIFEST, Manifest)
    with (
        context.reporter.stage("measure", len(manifest.artifacts)) as advance,
        open_device("local") as session,
    ):
        plan = Plan(
            tuple(context.directory / artifact.path for artifact in manifest.artifacts),
            threads=section.threads,
            seconds=section.seconds,
        )
        measured = measure(session, plan, lambda text: advance(int("ms" in text), text))
    save_json(context.directory / BENCH, bench_document({session.name: measured.benched}))
    return {}
