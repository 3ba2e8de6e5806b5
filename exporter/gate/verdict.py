"""The answer of the gate: one line for each limit of each artifact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final, Literal

from exporter.build import SCHEMA_VERSION, Frozen
from exporter.gate.units import BYTES, POINTS, QUANTITIES, SHARE, Quantity

__all__ = ["LayerChange", "Line", "Verdict"]

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
        subject: what of the artifact a growth limit holds, "" for any other limit.
        details: the layers that weigh most, or that grew most; one short text each.
        budget_line: the limit's line in the budget, from 1; None where it was not found.
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
    subject: str = ""
    details: tuple[str, ...] = ()
    budget_line: int | None = None

    @property
    def title(self) -> str:
        """The limit's name, with its subject and device if it has one."""
        name = f"{self.limit} of {self.subject}" if self.subject else self.limit
        return f"{name} on {self.device}" if self.device else name

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


class LayerChange(Frozen):
    """One layer of a file against the baseline's; None on the side where it does not exist.

    `bytes` are the file's; `entropy_bytes` are about what the package spends on the layer;
    `sparsity` is its share of zeros, in [0, 1].
    """

    artifact: str
    layer: str
    bytes: int | None
    baseline_bytes: int | None
    entropy_bytes: float | None
    baseline_entropy_bytes: float | None
    sparsity: float | None
    baseline_sparsity: float | None

    @property
    def growth(self) -> int:
        """Bytes in the file, more than before."""
        return (self.bytes or 0) - (self.baseline_bytes or 0)

    @property
    def packed_growth(self) -> float:
        """Bytes at the entropy, more than before."""
        return (self.entropy_bytes or 0.0) - (self.baseline_entropy_bytes or 0.0)

    @property
    def differs(self) -> bool:
        """Whether anything about the layer changed."""
        return (self.growth, self.packed_growth) != (0, 0.0) or (
            self.sparsity != self.baseline_sparsity
        )

    def sentence(self, *, packed: bool) -> str:
        """The change in words: `conv2: +1.20 kB packed, zeros 90.00 % before, 71.20 % now`."""
        growth = round(self.packed_growth) if packed else self.growth
        sign = "+" if growth >= 0 else "\N{MINUS SIGN}"
        text = f"{self.layer}: {sign}{BYTES.format(abs(growth))}{' packed' if packed else ''}"
        if self.baseline_bytes is None:
            return f"{text}, a new layer"
        if self.bytes is None:
            return f"{text}, the layer is gone"
        before, now = self.baseline_sparsity or 0.0, self.sparsity or 0.0
        if before == now:
            return text
        return f"{text}, zeros {SHARE.format(before)} before, {SHARE.format(now)} now"


class Verdict(Frozen):
    """Every line of one check.

    Attributes:
        name: the build's.
        lines: one for each limit of each artifact.
        budget: the budget's path as it was given; "" where there is none.
        baseline: the name of the build compared with; "" where there is none.
        changes: layers that are not as in the baseline, the largest growth first.
    """

    name: str
    lines: tuple[Line, ...]
    budget: str = ""
    baseline: str = ""
    changes: tuple[LayerChange, ...] = ()

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
            "budget": self.budget,
            "baseline": self.baseline,
            "lines": [line.model_dump(mode="json") for line in self.lines],
            "changes": [change.model_dump(mode="json") for change in self.changes],
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
