"""Quantities as people write them, and back.

A quantity is read into one base unit (bytes, milliseconds, percentage points, a share in [0, 1],
a ratio) and compared there. Decimal arithmetic keeps `"97 %"` equal to the float 0.97 and
`"2000 us"` equal to 2 ms, so that a limit that is exactly met is met.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

__all__ = [
    "BYTES",
    "CHANGE",
    "MILLISECONDS",
    "POINTS",
    "QUANTITIES",
    "RATIO",
    "SHARE",
    "TIMES",
    "Quantity",
    "signed",
]

TIMES: Final = "\N{MULTIPLICATION SIGN}"
_WRITTEN: Final = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?)\s*(\S*)\s*")
_SIGNIFICANT_DIGITS: Final = 3


@dataclass(frozen=True)
class Quantity:
    """One kind of quantity: how it is written, read and shown.

    Attributes:
        base: the unit of a bare number and of every parsed value ("" for a bare share).
        factors: each unit as written, with how many base units it is.
        shown: units to format in, smallest first; each is used from one of itself upwards.
        example: what to show to somebody who wrote something else.
        whole: whether the base unit does not divide (bytes).
        maximum: the largest value that means something, None for no bound.
        hints: units that people write but that mean two things, with what to write instead.
        decimals: how many to show; None for as many as leave three significant digits.
    """

    base: str
    factors: Mapping[str, Decimal]
    shown: tuple[str, ...]
    example: str
    whole: bool = False
    maximum: float | None = None
    hints: Mapping[str, str] | None = None
    decimals: int | None = None

    def parse(self, written: object) -> float:
        """Read a number (in base units) or a text with a unit; whole quantities round down.

        Raises:
            ValueError: it is neither, its unit is unknown, or it is out of range. The message is
                one sentence, fit to follow the name of a key.
        """
        if isinstance(written, bool) or not isinstance(written, int | float | str):
            raise ValueError(
                f"expected a number or a text such as {self.example}, found {_shown(written)}"
            )
        amount = self._amount(written) if isinstance(written, str) else Decimal(str(written))
        if not amount.is_finite() or amount < 0:
            raise ValueError(f"expected a finite number, zero or more, found {written}")
        if self.maximum is not None and amount > Decimal(str(self.maximum)):
            raise ValueError(
                f"expected at most {self.maximum:g}, found {written}; write {self.example}"
            )
        return int(amount) if self.whole else float(amount)

    def _amount(self, written: str) -> Decimal:
        match = _WRITTEN.fullmatch(written)
        if match is None:
            raise ValueError(f"expected a text such as {self.example}, found {written!r}")
        number, unit = match.groups()
        factor = self.factors.get(unit or self.base)
        if factor is None:
            raise ValueError(self._unknown(unit))
        return Decimal(number) * factor

    def _unknown(self, unit: str) -> str:
        known = ", ".join(name or "no unit" for name in self.factors)
        hint = (self.hints or {}).get(unit, "")
        if not hint:
            lower = {name.lower(): name for name in self.factors}
            near = get_close_matches(unit.lower(), lower, n=1)
            hint = f"did you mean {lower[near[0]]!r}?" if near else ""
        return f"unit {unit!r} is not one of {known}" + (f"; {hint}" if hint else "")

    def format(self, value: float) -> str:
        """Three significant digits, or fixed decimals, in the unit that reads best: `24.1 kB`."""
        if not math.isfinite(value):
            return "not a number"
        amount, unit = self._scaled(Decimal(str(value)))
        if self.decimals is not None:
            return _joined(f"{amount:.{self.decimals}f}", unit)
        digits = _decimals(amount, whole=self.whole and unit == self.base)
        text = f"{amount:.{digits}f}"
        # 999.7 kB rounds to 1000: the next unit reads better.
        larger = self._next(unit)
        if larger and abs(Decimal(text)) * self.factors[unit] >= self.factors[larger]:
            amount, unit = Decimal(text) * self.factors[unit] / self.factors[larger], larger
            text = f"{amount:.{_decimals(amount, whole=False)}f}"
        return _joined(text, unit)

    def format_exact(self, value: float) -> str:
        """Every digit, in the unit that reads best: `24.105 kB`; reads back to the same value."""
        amount, unit = self._scaled(Decimal(str(value)))
        return _joined(f"{amount.normalize():f}", unit)

    def format_apart(self, value: float, other: float) -> tuple[str, str]:
        """Both values, with every digit where rounding would show two different ones as equal."""
        short = self.format(value), self.format(other)
        if short[0] != short[1] or value == other:
            return short
        return self.format_exact(value), self.format_exact(other)

    def _scaled(self, amount: Decimal) -> tuple[Decimal, str]:
        unit = self.shown[0]
        for candidate in self.shown[1:]:
            if abs(amount) >= self.factors[candidate]:
                unit = candidate
        return amount / self.factors[unit], unit

    def _next(self, unit: str) -> str | None:
        place = self.shown.index(unit) + 1
        return self.shown[place] if place < len(self.shown) else None


def _decimals(amount: Decimal, *, whole: bool) -> int:
    """How many decimals leave three significant digits; none beyond the sixth."""
    if whole or amount == 0:
        return 0
    rounded = Decimal(f"{amount:.{_SIGNIFICANT_DIGITS - 1}e}")
    return min(6, max(0, _SIGNIFICANT_DIGITS - 1 - rounded.adjusted()))


def _joined(text: str, unit: str) -> str:
    return f"{text}{unit}" if unit in ("", TIMES) else f"{text} {unit}"


def _shown(value: object) -> str:
    """A TOML value for a message, cut where it would flood the line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


BYTES: Final = Quantity(
    base="B",
    factors={
        "B": Decimal(1),
        "kB": Decimal(10) ** 3,
        "MB": Decimal(10) ** 6,
        "GB": Decimal(10) ** 9,
        "KiB": Decimal(2) ** 10,
        "MiB": Decimal(2) ** 20,
        "GiB": Decimal(2) ** 30,
    },
    shown=("B", "kB", "MB", "GB"),
    example='"90 kB"',
    whole=True,
    hints={
        "KB": "write kB for 1000 bytes or KiB for 1024",
        "K": "write kB for 1000 bytes or KiB for 1024",
        "k": "write kB for 1000 bytes or KiB for 1024",
        "M": "write MB for 10^6 bytes or MiB for 2^20",
        "Mb": "that is bits: write MB for 10^6 bytes or MiB for 2^20",
        "kb": "that is bits: write kB for 1000 bytes or KiB for 1024",
    },
)
MILLISECONDS: Final = Quantity(
    base="ms",
    factors={
        "ms": Decimal(1),
        "us": Decimal("0.001"),
        "µs": Decimal("0.001"),  # micro sign, U+00B5
        "μs": Decimal("0.001"),  # Greek mu, U+03BC, which keyboards type too
        "s": Decimal(1000),
    },
    shown=("\N{MICRO SIGN}s", "ms", "s"),
    example='"2 ms"',
)
POINTS: Final = Quantity(
    base="pt",
    factors={"pt": Decimal(1), "pp": Decimal(1)},
    shown=("pt",),
    example='"1.0 pt"',
    hints={"%": "a drop is counted in percentage points: write pt"},
    decimals=2,
)
SHARE: Final = Quantity(
    base="",
    factors={"": Decimal(1), "%": Decimal("0.01")},
    shown=("%",),
    example='"97 %" or 0.97',
    maximum=1.0,
    decimals=2,
)
CHANGE: Final = replace(SHARE, example='"2 %" or 0.02')
RATIO: Final = Quantity(
    base=TIMES,
    factors={TIMES: Decimal(1), "x": Decimal(1)},
    shown=(TIMES,),
    example='20 or "20x"',
)
QUANTITIES: Final[Mapping[str, Quantity]] = {
    quantity.base: quantity for quantity in (BYTES, MILLISECONDS, POINTS, SHARE, RATIO)
}


def signed(change: float) -> str:
    """A relative change with its sign: `+2.30 %`."""
    sign = "+" if change >= 0 else "\N{MINUS SIGN}"
    return f"{sign}{SHARE.format(abs(change))}"
