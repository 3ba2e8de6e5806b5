"""Where the bytes are, and where they went since the baseline, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from exporter.build import LayerParity
from exporter.contents import LayerRow
from exporter.gate.units import BYTES, SHARE
from exporter.gate.verdict import LayerChange

__all__ = ["changes", "describe", "differing", "hardest_pruned", "heaviest"]

_MOST: Final = 3
"""Layers that a failure names: what comes after them rarely decides."""


def heaviest(
    layers: Sequence[LayerRow], weigh: Callable[[LayerRow], float], unit: str
) -> tuple[str, ...]:
    """The layers that weigh most, with their share of the whole; unit "B" or "MAC"."""
    total = sum(map(weigh, layers))
    if not total:
        return ()
    order = sorted(layers, key=weigh, reverse=True)[:_MOST]
    return tuple(
        f"{layer.name}: {_amount(weigh(layer), unit)} ({weigh(layer) / total * 100:.0f} % of all)"
        for layer in order
    )


def hardest_pruned(layers: Sequence[LayerRow]) -> tuple[str, ...]:
    """The layers that gave up most: many zeros, few levels."""
    order = sorted(layers, key=lambda layer: layer.entropy_bits)[:_MOST]
    return tuple(
        f"{layer.name}: {SHARE.format(layer.sparsity)} zeros, {layer.distinct_levels} levels"
        for layer in order
    )


def differing(layers: Sequence[LayerParity]) -> tuple[str, ...]:
    """The layers whose integers differ most from the reference's; none where none does."""
    order = sorted(
        (layer for layer in layers if layer.differing), key=lambda layer: -layer.differing
    )
    return tuple(
        f"{layer.layer}: {layer.differing} of {layer.values} integers differ in {layer.runtime}, "
        f"by up to {layer.max_lsb} LSB"
        for layer in order[:_MOST]
    )


def changes(
    artifact: str, new: Sequence[LayerRow], old: Sequence[LayerRow]
) -> tuple[LayerChange, ...]:
    """What changed between two builds, the largest growth first; layers that did not are left out.

    Layers are matched by name; one of another name is a new layer, and the old one is gone.
    """
    before = {layer.name: layer for layer in old}
    after = {layer.name: layer for layer in new}
    found = [
        _change(artifact, name, after.get(name), before.get(name))
        for name in dict.fromkeys((*after, *before))
    ]
    differing = [change for change in found if change.differs]
    return tuple(sorted(differing, key=lambda c: (-c.packed_growth, -c.growth)))


def _change(artifact: str, name: str, new: LayerRow | None, old: LayerRow | None) -> LayerChange:
    return LayerChange(
        artifact=artifact,
        layer=name,
        bytes=None if new is None else new.bytes,
        baseline_bytes=None if old is None else old.bytes,
        entropy_bytes=None if new is None else new.entropy_bytes,
        baseline_entropy_bytes=None if old is None else old.entropy_bytes,
        sparsity=None if new is None else new.sparsity,
        baseline_sparsity=None if old is None else old.sparsity,
    )


def describe(all_changes: Sequence[LayerChange], *, packed: bool) -> tuple[str, ...]:
    """The largest growths in words; `packed` counts bytes at the entropy, about the package's."""
    grown = sorted(all_changes, key=lambda c: c.packed_growth if packed else c.growth, reverse=True)
    return tuple(
        change.sentence(packed=packed)
        for change in grown[:_MOST]
        if (change.packed_growth if packed else change.growth) > 0
    )


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        return BYTES.format(round(value))
    for factor, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {name}MAC"
    return f"{value:.0f} MAC"
