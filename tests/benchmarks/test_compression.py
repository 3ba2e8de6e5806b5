"""What the compression benchmark trains is equal in length, and its differences are paired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compression
from benchmarks.compression import NETWORKS, QUICK, SOURCE, recipes, row_of, together

ALL = {**NETWORKS, **{f"{name}, quick": network for name, network in QUICK.items()}}


@pytest.mark.parametrize("network", ALL.values(), ids=list(ALL))
def test_everything_trains_as_long_as_the_control(network):
    for sections in recipes(network, Path("control")).values():
        stretches = [section for section in sections.values() if "epochs" in section]
        assert sum(section["epochs"] for section in stretches) == network.epochs


def test_what_is_pruned_has_less_dropout():
    network = replace(NETWORKS["AlexNet"], sparsity=0.96)
    (sections,) = recipes(network, Path("control")).values()
    assert sections["model"]["arguments"] == {"num_classes": 10, "dropout": pytest.approx(0.1)}


def test_the_ladder_has_the_sources_rows():
    labels = ["fp32", "8-bit PTQ", *recipes(NETWORKS["ResNet-50"], Path("control"))]
    assert [label for label in labels if label in SOURCE] == list(SOURCE)


def test_a_row_is_paired_over_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "parameter_bytes", lambda _: 6_000)
    monkeypatch.setattr(compression, "zeros", lambda _: 0.9)
    (tmp_path / "net.int8.tflite").write_bytes(bytes(700))
    (tmp_path / "net.int8.tflite.ewp").write_bytes(bytes(100))
    (tmp_path / "training.csv").write_text("stage,coded_bytes\nprune,300\nshare,99\nqat,\n")
    control = np.array([True] * 90 + [False] * 10)
    right = control.copy()
    right[:4] = False  # four lost, one won
    right[99] = True
    row = row_of("ours", tmp_path, "int8.tflite", right, control)
    assert row["accuracy_drop_pt"] == pytest.approx(3.0)
    # Of the paired differences, not of two independent shares.
    spread = np.std([1.0] * 4 + [-1.0] + [0.0] * 95, ddof=1)
    assert row["stderr_pt"] == pytest.approx(100 * spread / 10)
    assert (row["ratio"], row["package_bytes"], row["file_bytes"]) == (60, 100, 700)
    assert row["estimate_ratio"] == pytest.approx(0.99)


def test_new_rows_take_the_place_of_those_of_the_same_network_and_seed():
    def rows(*keys):
        return [{"network": n, "seed": seed, "method": m} for n, seed, m in keys]

    old = rows(("ResNet-20", 0, "old"), ("ResNet-20", 1, "kept"), ("VGG-16", 0, "kept"))
    new = rows(("ResNet-20", 0, "a"), ("ResNet-20", 0, "b"))
    expected = rows(
        ("ResNet-20", 0, "a"),
        ("ResNet-20", 0, "b"),
        ("ResNet-20", 1, "kept"),
        ("VGG-16", 0, "kept"),
    )
    assert together(old, new) == expected
    between = rows(("AlexNet", 0, "a"))
    assert together(old, between) == [*old[:2], *between, old[2]]
