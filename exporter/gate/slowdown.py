"""How much slower than the baseline a file may be: the statistical verdict over rounds in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.build import Artifact
from exporter.contents import LayerRow
from exporter.gate import statistics
from exporter.gate.account import heaviest
from exporter.gate.baseline import NO_BASELINE, Baseline, no_file
from exporter.gate.budget import DeviceLimit
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.readings import Reading, unmeasured
from exporter.gate.turns import TurnRow, load_turns
from exporter.gate.units import SHARE, signed
from exporter.gate.verdict import Line

__all__ = ["judged", "slowdown"]

_SLOWDOWN_REMEDY: Final = (
    "compare the layers of both builds with `edgewright report NEW OLD`: wider layers, and "
    "operators that fell out of the fast kernels, cost most"
)

_NOISY: Final = 0.05
"""Above this spread of one round, a quieter device helps more than more rounds."""


def slowdown(
    evidence: Evidence,
    artifact: Artifact,
    baseline: Baseline | None,
    limits: tuple[DeviceLimit, ...],
) -> tuple[Line, ...]:
    """One line for each device: the statistical verdict over `comparison.json`."""
    return tuple(_slowdown(evidence, artifact, baseline, limit) for limit in limits)


def _slowdown(
    evidence: Evidence, artifact: Artifact, baseline: Baseline | None, limit: DeviceLimit
) -> Line:
    line = Line(
        artifact=file_name(artifact),
        limit="max_slowdown",
        device=limit.device,
        relation="at most",
        limit_value=limit.limit,
        passed=False,
    )
    row = _turns(evidence, artifact, baseline, limit.device)
    if isinstance(row, Reading):
        return line.model_copy(update={"reason": row.reason, "remedy": row.remedy})
    return judged(line, row, evidence.layers(artifact))


def judged(line: Line, row: TurnRow, layers: Sequence[LayerRow] = ()) -> Line:
    """The line with the verdict over a row of turns; `layers` are named where it is slower."""
    tolerance = float(line.limit_value or 0.0)
    found = statistics.compare(row.new_ms, row.baseline_ms, tolerance=tolerance)
    ratio = found.ratio
    change = ratio.estimate - 1
    update: dict[str, object] = {
        "measured": change,
        "source": (
            f"between {signed(ratio.low - 1)} and {signed(ratio.high - 1)} over "
            f"{found.rounds} rounds in {row.runtime}, noise {SHARE.format(found.noise)}"
        ),
    }
    if found.answer == "better or equal":
        return line.model_copy(update=update | {"passed": True, "over": change - tolerance})
    if found.answer == "worse":
        update |= {
            "over": change - tolerance,
            "reason": f"slower than the baseline by {signed(change)}: that is no noise",
            "remedy": _SLOWDOWN_REMEDY,
            "details": heaviest(layers, lambda layer: layer.macs, "MAC"),
        }
        return line.model_copy(update=update)
    reason, remedy = _undecided(found, row.device)
    return line.model_copy(update=update | {"reason": reason, "remedy": remedy})


def _undecided(found: statistics.Comparison, device: str) -> tuple[str, str]:
    """Reason and remedy where nothing is shown."""
    reason = "inconclusive: the measurement shows neither that the limit is kept nor that it is not"
    more = found.more_rounds
    if more is None:
        return reason, (
            "the change lies at the limit itself: no number of rounds tells on which side; make "
            "the file faster, or set the limit off the change"
        )
    remedy = f"run `edgewright compare NEW OLD --device {device} --rounds {more} --add`"
    if found.noise > _NOISY:
        remedy += ", on a quieter device with a fixed clock if there is one"
    return f"{reason}; about {more} more rounds would decide", remedy


def _turns(
    evidence: Evidence, artifact: Artifact, baseline: Baseline | None, device: str
) -> TurnRow | Reading:
    """The rounds of this very file against the baseline's very file, or why there are none."""
    if baseline is None:
        return NO_BASELINE
    before = baseline.file(artifact)
    if before is None:
        return no_file(artifact, baseline)
    turns = load_turns(evidence.directory)
    if turns is None:
        return _to_measure("the builds were not measured in turns: no comparison.json", device)
    files = (artifact.sha256.lower(), before.sha256)
    rows = [row for row in turns.rows if (row.sha256, row.baseline_sha256) == files]
    return _enough(rows, device)


def _enough(rows: list[TurnRow], device: str) -> TurnRow | Reading:
    """The row of a device with the most rounds, if these are enough."""
    here = [row for row in rows if row.device == device]
    if here:
        row = max(here, key=lambda row: len(row.new_ms))
        count, least = len(row.new_ms), statistics.LEAST_ROUNDS
        if count >= least:
            return row
        return _to_measure(f"only {count} rounds: {least} are the least that decide", device)
    if rows:
        measured = ", ".join(sorted({row.device for row in rows}))
        return _to_measure(f"not compared on {device}: only on {measured}", device)
    return _to_measure("comparison.json is of other files than these two", device)


def _to_measure(reason: str, device: str) -> Reading:
    return unmeasured(
        reason,
        f"run `edgewright compare NEW OLD --device {device}`: it measures both builds in turns, "
        "since times of two days do not compare",
    )
