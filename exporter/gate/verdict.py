"""The answer of the gate: one line for each limit of each artifact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final, Literal

from exporter.build import SCHEMA_VERSION, Frozen
from exporter.gate.units import POINTS, QUANTITIES, Quantity

__all__ = ["Line", "Verdict"]

Value = int | float | str | None

NOTHING: Final = "\N{EN DASH}"


class Line(Frozen):
    """One limit held against one artifact.

    Attributes:
        artifact: the artifact's file name; the glob itself where no artifact matches it.
        limit: the limit's name in the budget, or a check that every artifact gets.
        device: for which device a time limit is, "" for any other limit.
        relation: how `measured` must stand to `limit_value`.
        limit_value: the limit in `unit`; a text for a limit that is no quantity.
        measured: what was measured, in `unit`; None where nothing was.
        unit: B, ms, pt (percentage points), a multiplication sign for a ratio, or "" (a share in
            [0, 1], or a text).
        passed: whether the limit is kept.
        reason: why not; "" when it is kept.
        over: by how much the limit is broken, in `unit`; negative is room left; None where the
            two cannot be subtracted.
        remedy: what usually helps; "" when the limit is kept.
        source: where `measured` comes from (a device and runtime, for one).
    """

    artifact: str
    limit: str
    device: str = ""
    relation: Literal["at most", "at least", "is"] = "is"
    limit_value: Value = None
    measured: Value = None
    unit: str = ""
    passed: bool
    reason: str = ""
    over: float | None = None
    remedy: str = ""
    source: str = ""

    @property
    def title(self) -> str:
        """The limit's name, with its device if it has one."""
        return f"{self.limit} on {self.device}" if self.device else self.limit

    @property
    def limit_text(self) -> str:
        """The limit for people: `≤ 90.0 kB`."""
        sign = {"at most": "≤ ", "at least": "≥ ", "is": ""}[self.relation]
        return sign + self._texts()[0]

    @property
    def measured_text(self) -> str:
        """The measured value for people: `84.2 kB`."""
        return self._texts()[1]

    @property
    def margin_text(self) -> str:
        """How far over the limit, or how much room is left: `1 B (0.001 %) over`."""
        if self.over is None or not isinstance(self.limit_value, int | float):
            return ""
        if self.over == 0:
            return "exactly met"
        beyond = "over" if self.relation == "at most" else "short"
        side = beyond if self.over > 0 else "left"
        return f"{margin(self.over, self.limit_value, QUANTITIES[self.unit])} {side}"

    def _texts(self) -> tuple[str, str]:
        if isinstance(self.limit_value, int | float) and isinstance(self.measured, int | float):
            return QUANTITIES[self.unit].format_apart(self.limit_value, self.measured)
        return self._text(self.limit_value), self._text(self.measured)

    def _text(self, value: Value) -> str:
        if value is None:
            return NOTHING
        return value if isinstance(value, str) else QUANTITIES[self.unit].format(value)


class Verdict(Frozen):
    """Every line of one check; `name` is the build's."""

    name: str
    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Whether the build may ship: there are lines, and each is kept."""
        return bool(self.lines) and not self.failures

    @property
    def failures(self) -> tuple[Line, ...]:
        """The lines that are not kept, in order."""
        return tuple(line for line in self.lines if not line.passed)

    @property
    def summary(self) -> str:
        """One sentence for people."""
        total, failed = len(self.lines), len(self.failures)
        if not failed:
            return f"{self.name} passes: all {total} checks are kept"
        noun = "check" if total == 1 else "checks"
        return f"{self.name} does not pass: {failed} of {total} {noun} failed"

    def to_json(self) -> str:
        """The verdict as one JSON document, without a final newline."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "passed": self.passed,
            "checks": len(self.lines),
            "failures": len(self.failures),
            "lines": [line.model_dump(mode="json") for line in self.lines],
        }
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def margin(over: float, limit: float, quantity: Quantity) -> str:
    """A distance from a limit, absolute and as a share of the limit: `1.50 kB (1.7 %)`."""
    distance = abs(over)
    text = POINTS.format(distance * 100) if quantity.base == "" else quantity.format(distance)
    return text if limit == 0 else f"{text} ({share(distance / abs(limit))})"


def share(fraction: float) -> str:
    """A share as a percentage with two significant digits, never in powers of ten: `0.0011 %`."""
    percent = Decimal(f"{fraction * 100:.1e}")
    return f"{percent.normalize():f} %"
