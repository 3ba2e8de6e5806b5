"""The package benchmark keeps the rows that a run does not measure, in their places."""

from __future__ import annotations

from benchmarks.package import in_place


def row(network, sparsity, package_bytes=0):
    return {"network": network, "sparsity": sparsity, "package_bytes": package_bytes}


def test_rows_that_are_measured_again_stay_in_their_places():
    kept = [row("a", 0.9), row("b", 0.9), row("b, delta", 0.9)]
    again = [row("new", 0.9, 3), row("b", 0.9, 2)]
    assert in_place(kept, again) == [row("a", 0.9), row("b", 0.9, 2), kept[2], row("new", 0.9, 3)]
