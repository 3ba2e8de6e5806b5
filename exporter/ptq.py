"""What `ptq = "best"` chose, for people and for `NAME.ptq.json`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from exporter.build import Frozen

if TYPE_CHECKING:
    from exporter.quantize.best import Best


class PtqTrial(Frozen):
    """One thing tried on the whole network; dB of its outputs, over samples held out."""

    name: str
    output_db: float


class PtqLayer(Frozen):
    """What was chosen for one group of values, and the error that came of it.

    `name` and `layer` are what the module calls a layer with a weight, as in `verify --layers`; of
    other values, the captured graph's names of the value and of the operator that computes it.
    `range` is the method; `rounding` the layer's output error over that of rounding to the nearest,
    None where weights stayed at the nearest or there are none. `isolated_db` and `accumulated_db`
    are as in `exporter.quantize.sensitivity`, None where nothing differs.
    """

    name: str
    layer: str
    range: str
    low: float
    high: float
    rounding: float | None
    isolated_db: float | None
    accumulated_db: float | None


class Ptq(Frozen):
    """`NAME.ptq.json`: all trials, the one kept, and each layer; the worst comes first."""

    schema_version: Literal[1] = 1
    equalization: float
    output_db: float
    cpu_s: float
    judging_samples: int
    fitting_samples: int
    trials: tuple[PtqTrial, ...]
    layers: tuple[PtqLayer, ...]

    def table(self) -> Table:
        """The trials and the choices that differ from the plain ones, with the worst layers."""
        title = (
            f'ptq = "best": {self.output_db:.1f} dB of the outputs over {self.judging_samples} '
            f"held-out samples, {self.cpu_s:.0f} CPU s"
        )
        table = Table(title=title, box=None, title_justify="left")
        for column in ("tried / layer", "range", "rounding", "alone dB", "arrived dB"):
            table.add_column(column, justify="left" if column == "tried / layer" else "right")
        for trial in self.trials:
            mark = "*" if trial.output_db == self.output_db else ""
            table.add_row(trial.name, "", "", "", f"{trial.output_db:.1f}{mark}")
        for row in self.layers[:SHOWN]:
            rounding = "" if row.rounding is None else f"{row.rounding:.2f}"
            figures = (_shown(row.isolated_db), _shown(row.accumulated_db))
            table.add_row(row.name, row.range, rounding, *figures)
        if len(self.layers) > SHOWN:
            table.add_row(f"... {len(self.layers) - SHOWN} more in the build directory")
        return table


SHOWN = 12


def describe(best: Best) -> Ptq:
    """The document of a search."""
    from exporter.quantize.float_layers import weights_by_layer
    from exporter.quantize.groups import weight_of
    from exporter.quantize.sensitivity import layer_errors

    layer_of = {weight: layer for layer, weight in weights_by_layer(best.real).items()}
    named = {node.name: layer_of.get(weight_of(node)) for node in best.real.graph.nodes}
    group_of = {node.name: group for node, group in best.plan.group_of.items()}
    rounding = {row.name: row.error for row in best.rounded}
    layers = []
    for error in layer_errors(best.real, best.prepared, best.judging):
        group = group_of[error.name]
        layers.append(
            PtqLayer(
                name=named[error.layer] or error.name,
                layer=named[error.layer] or error.layer,
                range="fixed" if group.fixed is not None else best.methods[group.name],
                low=group.low,
                high=group.high,
                rounding=rounding.get(error.layer, rounding.get(error.name)),
                isolated_db=_finite(error.isolated_db),
                accumulated_db=_finite(error.accumulated_db),
            )
        )
    return Ptq(
        equalization=best.strength,
        output_db=best.output_db,
        cpu_s=best.cpu_s,
        judging_samples=sum(len(batch) for batch in best.judging),
        fitting_samples=sum(len(batch) for batch in best.fitting),
        trials=tuple(PtqTrial(name=t.name, output_db=t.output_db) for t in best.trials),
        layers=tuple(layers),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"
