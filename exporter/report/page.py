"""The report: one HTML file that holds all it shows and opens anywhere, offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.build import REPORT, write_bytes
from exporter.errors import MissingRuntimeError
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE
from exporter.gate.verdict import Verdict
from exporter.report.layers import LayerRow
from exporter.report.summary import build_rows, label, shown, time_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["LayerRow", "write_report"]

# A page of more rows than these is no longer read, and grows beyond what a browser likes.
_MOST_LAYER_ROWS: Final = 500
_BACKTICKS: Final = re.compile(r"`([^`]+)`")


def write_report(
    directory: Path, *, verdict: Verdict | None = None, layers: Sequence[LayerRow] = ()
) -> Path:
    """Write `report.html` into a build directory.

    What was not measured is left out, with a sentence that names the command which measures it.

    Args:
        directory: a build directory.
        verdict: the gate's answer, from `exporter.gate.check`; None where there is no budget.
        layers: the layers of a shipped file, in the order of the model.

    Returns:
        The path of the page.

    Raises:
        BuildError: manifest.json is missing, or a JSON file of the build is damaged.
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    evidence = Evidence(directory)
    page = _environment().get_template("report.html.j2").render(_context(evidence, verdict, layers))
    path = directory / REPORT
    write_bytes(path, page.encode())
    return path


def _environment() -> Environment:
    try:
        import matplotlib  # noqa: F401 - the pictures need it; better told before than halfway
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingRuntimeError(
            "the report cannot be drawn",
            expected="matplotlib and jinja2",
            found=str(error),
            remedy="pip install 'edgewright[export]'",
        ) from None
    environment = Environment(
        loader=PackageLoader("exporter.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    quantities = {"size": BYTES, "ms": MILLISECONDS, "points": POINTS, "share": SHARE}
    for name, quantity in {**quantities, "ratio": RATIO}.items():
        environment.filters[name] = partial(shown, quantity=quantity)
    environment.filters["count"] = _count
    environment.filters["commands"] = _commands
    environment.filters["label"] = label
    environment.filters["file_name"] = file_name
    environment.globals["time_text"] = time_text
    return environment


def _context(
    evidence: Evidence, verdict: Verdict | None, layers: Sequence[LayerRow]
) -> dict[str, Any]:
    from exporter.report import plots, views

    rows = build_rows(evidence)
    runs = views.runs(evidence)
    return {
        "manifest": evidence.manifest,
        "accuracy": evidence.accuracy,
        "bench": evidence.bench,
        "certificate": evidence.certificate,
        "verdict": verdict,
        "rows": rows,
        "figures": views.figures(evidence, rows),
        "accuracy_plot": plots.accuracy_by_size(views.points(evidence)),
        "latency_plot": plots.latency(runs),
        "memory_plot": plots.memory(runs),
        "layers_plot": plots.layer_bars(layers),
        "runs_left_out": max(0, len(runs) - plots.MOST_RUNS),
        "layers": plots.heaviest(layers, _MOST_LAYER_ROWS),
        "layers_total": len(layers),
        "layers_drawn": min(len(layers), plots.MOST_LAYERS),
        "devices": sorted({row.device for row in evidence.bench.rows}) if evidence.bench else [],
    }


def _count(number: int) -> str:
    """A whole number in groups of three, which do not break over lines."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _commands(text: str) -> Markup:
    """A sentence whose `commands` stand in backticks, as HTML; everything in it is escaped."""
    from markupsafe import Markup, escape

    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704
