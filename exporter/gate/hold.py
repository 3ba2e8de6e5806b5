"""One number held against one limit."""

from __future__ import annotations

import math
from typing import Final, Literal

from exporter.gate.readings import Reading
from exporter.gate.units import Quantity
from exporter.gate.verdict import Line, margin

__all__ = ["hold"]

# Shares and points come out of divisions: 0.99 - 0.98 is 1.0000000000000009 points. Nine decimals
# are far below one sample of any data set, so an exactly met limit is met.
_DECIMALS: Final = 9


def hold(  # noqa: PLR0913 - a line has that many sides
    artifact: str,
    limit: str,
    allowed: float,
    reading: Reading,
    quantity: Quantity,
    *,
    relation: Literal["at most", "at least"],
    remedy: str,
    device: str = "",
    subject: str = "",
    details: tuple[str, ...] = (),
) -> Line:
    """One line: the reading against the limit. A limit that is exactly met is kept.

    `remedy` and `details` stand in a line that fails, and only there.
    """
    line = Line(
        artifact=artifact,
        limit=limit,
        device=device,
        subject=subject,
        relation=relation,
        limit_value=allowed,
        unit=quantity.base,
        source=reading.source,
        passed=False,
    )
    value = reading.value
    if value is None:
        return line.model_copy(update={"reason": reading.reason, "remedy": reading.remedy})
    if not math.isfinite(value):
        return line.model_copy(update={"reason": "the measured value is not a number"})
    over = value - allowed if relation == "at most" else allowed - value
    over = over if quantity.whole else round(over, _DECIMALS)
    update: dict[str, object] = {"measured": value, "over": over}
    if over <= 0:
        return line.model_copy(update=update | {"passed": True})
    side = "over" if relation == "at most" else "short of"
    return line.model_copy(
        update=update
        | {
            "reason": f"{margin(over, allowed, quantity)} {side} the limit",
            "remedy": remedy,
            "details": details,
        }
    )
