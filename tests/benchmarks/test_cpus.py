"""The table of emulated CPUs: what ran is compared, what did not run says so."""

from __future__ import annotations

import pytest

from benchmarks import zoo
from benchmarks.cpus import HERE, by_cpu
from exporter.build import Certificate, CpuComparison, OutputComparison

BOTH = ("n.int8.tflite", "n.int8.onnx")


def certificate(cpus):
    here = [
        OutputComparison(
            artifact=name, runtime="r", sha256="0", values=10, differing=0, max_lsb=0, decides=True
        )
        for name in BOTH
    ]
    builtin = here[0].model_copy(update={"decides": False, "differing": 4, "max_lsb": 2})
    return Certificate(
        verdict="clean", samples=2, checks=(), outputs=(*here, builtin), cpus=tuple(cpus)
    )


def ran(cpu, artifact, **found):
    return CpuComparison(
        cpu=cpu, features="f", artifact=artifact, runtime="r", samples=2, values=10, **found
    )


def test_a_row_takes_in_every_file_of_a_cpu():
    rows = by_cpu(
        certificate(
            ran(cpu, name, differing=differing, max_lsb=differing)
            for cpu, differing in (("old", 0), ("new", 1))
            for name in BOTH
        )
    )
    assert [row["cpu"] for row in rows] == [HERE, "old", "new"]
    assert [(row["files"], row["values"], row["differing"], row["max_lsb"]) for row in rows] == [
        (2, 20, 0, 0),  # the builtin kernels do not count
        (2, 20, 0, 0),
        (2, 20, 2, 1),
    ]
    assert all(row["failed"] == "" for row in rows)


def test_what_did_not_run_is_told():
    lost = CpuComparison(
        cpu="old", features="f", artifact=BOTH[0], runtime="r", samples=2, not_run="no qemu"
    )
    (_, row) = by_cpu(certificate([lost, ran("old", BOTH[1])]))
    assert (row["values"], row["failed"]) == (10, "no qemu")


def test_a_recipe_finds_a_networks_frames():
    frames = zoo.narrow_resnet8().tensors[0]
    channels, height, width = zoo.ZOO["resnet8"].small_shape[1:]
    assert tuple(frames.shape) == (zoo.FRAMES, height, width, channels)
    with pytest.raises(AttributeError, match="narrow_lenet"):
        zoo.narrow_lenet  # noqa: B018
