"""The report: one HTML file that holds all it shows and opens anywhere, offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.build import REPORT, write_bytes
from exporter.contents import LayerRow
from exporter.errors import INSTALL_EXPORT, MissingRuntimeError
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE
from exporter.gate.verdict import Verdict
from exporter.report.summary import build_rows, label, shown, time_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from exporter.report.views import Device

__all__ = ["LayerRow", "environment", "render_page", "write_report"]

# A page of more rows than these is no longer read, and grows beyond what a browser likes.
_MOST_LAYER_ROWS: Final = 500
_BACKTICKS: Final = re.compile(r"`([^`]+)`")


def write_report(
    directory: Path,
    *,
    verdict: Verdict | None = None,
    layers: Sequence[LayerRow] = (),
    output: Path | None = None,
) -> Path:
    """Write the page of a build.

    What was not measured is left out, with a sentence that names the command which measures it.

    Args:
        directory: a build directory.
        verdict: the gate's answer, from `exporter.gate.check`; None where there is no budget.
        layers: the layers of a shipped file, in the order of the model.
        output: where; `report.html` in the directory by default.

    Returns:
        The path of the page.

    Raises:
        BuildError: manifest.json is missing, or a JSON file of the build is damaged.
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    environment()  # better told before the pictures are drawn than halfway
    context = _context(Evidence(directory), verdict, layers)
    return render_page("report.html.j2", context, output or directory / REPORT)


def render_page(template: str, context: dict[str, Any], path: Path) -> Path:
    """Write a page from a template, whole or not at all.

    Raises:
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    write_bytes(path, environment().get_template(template).render(context).encode())
    return path


def environment() -> Environment:
    """What renders the templates: everything is escaped, and nothing undefined passes.

    Raises:
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    try:
        import matplotlib  # noqa: F401 - the pictures need it; better told before than halfway
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingRuntimeError(
            "the report cannot be drawn",
            expected="matplotlib and jinja2",
            found=str(error),
            remedy=INSTALL_EXPORT,
        ) from None
    made = Environment(
        loader=PackageLoader("exporter.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    quantities = {"size": BYTES, "ms": MILLISECONDS, "points": POINTS, "share": SHARE}
    for name, quantity in {**quantities, "ratio": RATIO}.items():
        made.filters[name] = partial(shown, quantity=quantity)
    made.filters["count"] = _count
    made.filters["commands"] = _commands
    made.filters["label"] = label
    made.filters["file_name"] = file_name
    made.globals["time_text"] = time_text
    return made


def _context(
    evidence: Evidence, verdict: Verdict | None, layers: Sequence[LayerRow]
) -> dict[str, Any]:
    from exporter.report import device_plots, layer_plots, parity_plot, plots, stages, views

    rows = build_rows(evidence)
    return {
        "manifest": evidence.manifest,
        "recipe": views.recipe(evidence),
        "accuracy": evidence.accuracy,
        "bench": evidence.bench,
        "certificate": evidence.certificate,
        "parity_plot": parity_plot.layer_parity(evidence.certificate),
        "verdict": verdict,
        "rows": rows,
        "figures": views.figures(evidence, rows),
        "accuracy_plot": plots.accuracy_by_size(views.points(evidence)),
        "stages": stages.stage_rows(evidence),
        "speed_plot": plots.accuracy_by_latency(views.timed_points(evidence)),
        "devices_plot": device_plots.device_bars(views.runs(evidence)),
        "devices": [_device(device, place) for place, device in enumerate(views.devices(evidence))],
        "device_names": sorted({row.device for row in evidence.bench.rows})
        if evidence.bench
        else [],
        "layers_plot": layer_plots.layer_bars(layers),
        "levels_plot": layer_plots.level_bars(layers),
        "weights_plot": layer_plots.histograms(layers),
        "layers": layer_plots.heaviest(layers, _MOST_LAYER_ROWS),
        "layers_total": len(layers),
        "layers_drawn": min(len(layers), layer_plots.MOST_LAYERS),
    }


def _device(device: Device, place: int) -> dict[str, Any]:
    from exporter.report import plots

    return {
        "name": device.name,
        "state": device.state,
        "unknown": device.unknown,
        "doubts": device.doubts,
        "arm_files": device.arm_files_on_x86,
        "latency_plot": plots.latency(device.runs, place),
        "memory_plot": plots.memory(device.runs, place),
        "left_out": max(0, len(device.runs) - plots.MOST_RUNS),
    }


def _count(number: int) -> str:
    """A whole number in groups of three, which do not break over lines."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _commands(text: str) -> Markup:
    """A sentence whose `commands` stand in backticks, as HTML; everything in it is escaped."""
    from markupsafe import Markup, escape

    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704
