"""Budgets: TOML in, frozen and validated models out.

A new limit is one field of `Limits` here and one measure in `exporter.gate.measures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError

from exporter.build import Frozen
from exporter.errors import RecipeError
from exporter.gate.places import places
from exporter.gate.units import BYTES, CHANGE, MILLISECONDS, POINTS, RATIO, SHARE, Quantity
from exporter.settings import read_toml

__all__ = ["Budget", "DeviceLimit", "GrowthLimit", "Limits", "Section", "load_budget"]

_SECTIONS: Final = "limits"
_OPERATORS: Final = "operators"

GROWING: Final = ("file_bytes", "package_bytes", "peak_memory")
"""What `max_growth` can hold; a plain share holds the first two, which do not vary."""
EVERY_OPERATOR: Final = "*"


class DeviceLimit(Frozen):
    """A limit on one device, by the name that `bench.json` gives it: ms, or a share of growth."""

    device: str
    limit: float


class GrowthLimit(Frozen):
    """How much a size may grow from the baseline's: a share, 0.02 for 2 %."""

    of: Literal["file_bytes", "package_bytes", "peak_memory"]
    limit: float


def _by_device(value: object, quantity: Quantity) -> object:
    """`{ local = "2 ms" }` to one `DeviceLimit` a device."""
    example = f"{{ local = {quantity.example} }}"
    if not isinstance(value, Mapping):
        raise ValueError(  # pydantic makes an error of its own only out of a ValueError
            f"expected one limit a device such as {example}, found {value!r} without a device"
        )
    if not value:
        raise ValueError(f"expected at least one device such as {example}, found none")
    limits = []
    for device, written in value.items():
        try:
            limits.append(DeviceLimit(device=str(device), limit=quantity.parse(written)))
        except ValueError as error:
            raise ValueError(f"device {device!r}: {error}") from None
    return tuple(limits)


def _growth(value: object) -> object:
    """`"2 %"`, or `{ file_bytes = "2 %", peak_memory = "10 %" }`."""
    if not isinstance(value, Mapping):
        limit = CHANGE.parse(value)
        return tuple(GrowthLimit(of=name, limit=limit) for name in GROWING[:2])
    unknown = next((name for name in value if name not in GROWING), None)
    if unknown is not None or not value:
        raise ValueError(f"expected some of {', '.join(GROWING)}, found {unknown or 'none'}")
    return tuple(
        GrowthLimit(of=name, limit=CHANGE.parse(written)) for name, written in value.items()
    )


def _word(expected: str) -> BeforeValidator:
    def read(value: object) -> object:
        if value != expected:
            raise ValueError(f'expected "{expected}", the only verdict to ask for, found {value!r}')
        return value

    return BeforeValidator(read)


def _smoke(value: object) -> object:
    """`"passed"` on whatever it ran on, or a list of devices on which it must have passed."""
    if value == "passed":
        return ()
    return _names(value, 'expected "passed", or the devices such as ["local", "pi4"]')


def _names(value: object, expected: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{expected}, found {value!r}")
    return tuple(value)


def _operators(value: object) -> object:
    return _names(
        value, 'expected operators such as ["CONV_2D", "ADD"], or the name of a list in [operators]'
    )


def _versions(value: object) -> object:
    """`3` for every operator, or `{ CONV_2D = 3, "*" = 2 }`, to (operator, highest version)."""
    written = value if isinstance(value, Mapping) else {EVERY_OPERATOR: value}
    for name, version in written.items():
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise ValueError(
                f'expected a version such as 3, or {{ CONV_2D = 3, "*" = 2 }}, '
                f"found {version!r} for {name!r}"
            )
    return tuple((str(name), version) for name, version in written.items())


# Optional fields: TOML has no null, so the validators never see None.
Bytes = Annotated[int | None, BeforeValidator(BYTES.parse)]
Milliseconds = Annotated[float | None, BeforeValidator(MILLISECONDS.parse)]
Points = Annotated[float | None, BeforeValidator(POINTS.parse)]
Share = Annotated[float | None, BeforeValidator(SHARE.parse)]
Ratio = Annotated[float | None, BeforeValidator(RATIO.parse)]
Times = Annotated[
    tuple[DeviceLimit, ...], BeforeValidator(lambda value: _by_device(value, MILLISECONDS))
]
Slowdowns = Annotated[
    tuple[DeviceLimit, ...], BeforeValidator(lambda value: _by_device(value, CHANGE))
]
Growth = Annotated[tuple[GrowthLimit, ...], BeforeValidator(_growth)]
CleanOnly = Annotated[Literal["clean"] | None, _word("clean")]
Devices = Annotated[tuple[str, ...] | None, BeforeValidator(_smoke)]
Operators = Annotated[tuple[str, ...] | None, BeforeValidator(_operators)]
Versions = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_versions)]


class Limits(Frozen):
    """What the artifacts of one section must keep to; None or empty where nothing is asked.

    Bytes, milliseconds, percentage points and shares in [0, 1]. `accuracy`, `agreement` and
    `compression_ratio` are lower bounds, the other numbers upper bounds. `max_growth` and
    `max_slowdown` need a baseline.
    """

    file_bytes: Bytes = None
    package_bytes: Bytes = None
    delta_bytes: Bytes = None
    compression_ratio: Ratio = None
    accuracy: Share = None
    accuracy_drop: Points = None
    agreement: Share = None
    peak_memory: Bytes = None
    pss: Bytes = None
    arena: Bytes = None
    load: Milliseconds = None
    latency_p50: Times = ()
    latency_p90: Times = ()
    latency_p99: Times = ()
    certificate: CleanOnly = None
    smoke: Devices = None
    operators: Operators = None
    operator_version: Versions = ()
    float_operators: Operators = None
    max_growth: Growth = ()
    max_slowdown: Slowdowns = ()


class Section(Frozen):
    """The limits of every artifact whose file name matches `pattern`.

    `lines` has the line of the file, from 1, on which each limit stands, where it was found; ""
    stands for the section's own.
    """

    pattern: str
    limits: Limits
    lines: dict[str, int] = Field(default_factory=dict)

    def line(self, limit: str) -> int | None:
        """The line of a limit, else of the section."""
        return self.lines.get(limit, self.lines.get(""))


class Budget(Frozen):
    """A budget file: sections in the order in which they are written; `path` as it was given."""

    sections: tuple[Section, ...]
    path: str = ""


def load_budget(path: Path) -> Budget:
    """Read and validate a budget.

    Raises:
        RecipeError: the file is missing, is no TOML, names an unknown key, gives a value of the
            wrong kind, or limits nothing.
    """
    document = read_toml(
        path, "budget", hint='quote a glob in a table\'s name: [limits."*.int8.tflite"]'
    )
    known = [_SECTIONS, _OPERATORS]
    unknown = next((key for key in document if key not in known), None)
    if unknown is not None:
        raise _unknown_key(path, unknown, "the top level", known)
    tables = document.get(_SECTIONS, {})
    if not isinstance(tables, dict) or not tables:
        raise RecipeError(
            f"{path} limits nothing",
            expected='at least one section such as [limits."*.int8.tflite"]',
            found="none" if not tables else f"limits = {tables!r}",
            remedy="`edgewright init` writes a budget to start from",
        )
    lists = _operator_lists(path, document.get(_OPERATORS, {}))
    lines = places(path.read_text(encoding="utf-8"), _SECTIONS)
    sections = (
        _section(path, str(pattern), table, lists).model_copy(
            update={"lines": lines.get(str(pattern), {})}
        )
        for pattern, table in tables.items()
    )
    return Budget(sections=tuple(sections), path=str(path))


def _operator_lists(path: Path, table: object) -> dict[str, list[str]]:
    """The lists of `[operators]`: what a device can run, by a name of one's own."""
    if isinstance(table, dict) and all(isinstance(names, list) for names in table.values()):
        return table
    raise RecipeError(
        f"{path}: [{_OPERATORS}] holds something else than lists",
        expected='old-phone = ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]',
        found=repr(table),
    )


def _section(path: Path, pattern: str, table: object, lists: dict[str, list[str]]) -> Section:
    where = f'[limits."{pattern}"]'
    if not isinstance(table, dict):
        raise RecipeError(
            f"{path}: {where} is not a table",
            expected="a table of limits",
            found=repr(table),
            remedy=(
                f'put the limit under the artifacts it is for: [limits."*.int8.tflite"], '
                f"then {pattern} = {table!r}"
                if pattern in Limits.model_fields
                else f"write {where} on a line of its own"
            ),
        )
    if not table:
        raise RecipeError(
            f"{path}: {where} limits nothing",
            expected="at least one of " + ", ".join(Limits.model_fields),
            remedy="add a limit, or take the section out",
        )
    for key, value in table.items():
        if key not in Limits.model_fields:
            raise _unknown_key(path, key, where, list(Limits.model_fields), value)
    try:
        limits = Limits.model_validate(_with_lists(path, where, table, lists))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        reason = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{path}: {key} in {where}: {reason}") from None
    return Section(pattern=pattern, limits=limits)


def _with_lists(
    path: Path, where: str, table: dict[str, Any], lists: dict[str, list[str]]
) -> dict[str, Any]:
    """The table with `operators = "old-phone"` replaced by that list of `[operators]`."""
    name = table.get(_OPERATORS)
    if not isinstance(name, str):
        return table
    if name not in lists:
        raise RecipeError(
            f"{path}: operators in {where} names a list that is not there",
            expected=", ".join(lists) or f"a list in [{_OPERATORS}]",
            found=name,
            remedy=f'write [{_OPERATORS}], then {name} = ["CONV_2D", ...]',
        )
    return {**table, _OPERATORS: lists[name]}


def _unknown_key(
    path: Path, key: str, where: str, valid: list[str], value: object = None
) -> RecipeError:
    near = get_close_matches(key, valid, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else "take it out, or see the list above"
    if isinstance(value, dict):
        # [limits.digits.tflite] without quotes is a table in a table.
        remedy += ' If it is part of a file name, quote the whole name: [limits."a.int8.tflite"]'
    return RecipeError(
        f"{path}: unknown key {key!r} in {where}",
        expected=", ".join(valid),
        found=key,
        remedy=remedy,
    )
