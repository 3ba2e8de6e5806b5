"""The report's picture of parity by layer, where the certificate has it."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from exporter.build import Certificate, LayerParity
from exporter.report.svg import COLOURS, drawing, inline_svg, short, telling

__all__ = ["layer_parity"]

_WIDTH_IN: Final = 4.7
_ROW_IN: Final = 0.2
_MOST: Final = 40


def layer_parity(certificate: Certificate | None) -> Markup | None:
    """A bar for each layer: the share of its integers that differ, in the worst of its runtimes.

    The layers that differ most are drawn where there are many, in the order of the model.
    """
    layers = _worst_runtime(certificate.layers) if certificate is not None else []
    if not layers:
        return None
    kept = sorted(range(len(layers)), key=lambda at: -_share(layers[at]))[:_MOST]
    rows = [layers[at] for at in sorted(kept)]
    with drawing(_WIDTH_IN, 0.75 + _ROW_IN * len(rows)) as figure:
        axes = figure.subplots()
        shares = [_share(row) * 100 for row in rows]
        axes.barh(range(len(rows)), shares, height=0.62, color=COLOURS["tflite"])
        for place, row in enumerate(rows):
            if row.differing:
                axes.annotate(
                    f"{row.max_lsb} LSB in {row.runtime}",
                    (shares[place], place),
                    xytext=(5, 0),
                    textcoords="offset points",
                    verticalalignment="center",
                    fontsize=7.5,
                )
        names = telling([row.layer for row in rows])
        axes.set_yticks(range(len(rows)), [short(name) for name in names])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, max(*shares, 0.1) * 1.55)
        axes.set_xlabel("integers that differ, %")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        return inline_svg(figure, "parity", "Share of differing integers of each layer")


def _worst_runtime(rows: tuple[LayerParity, ...]) -> list[LayerParity]:
    """One row a layer, in the order of the model."""
    worst: dict[str, LayerParity] = {}
    for row in rows:
        known = worst.get(row.layer)
        if known is None or _share(row) > _share(known):
            worst[row.layer] = row
    return list(worst.values())


def _share(row: LayerParity) -> float:
    return row.differing / row.values if row.values else 0.0
