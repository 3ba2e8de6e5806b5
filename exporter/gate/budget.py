"""Budgets: TOML in, frozen and validated models out.

A new limit is one field of `Limits` here and one measure in `exporter.gate.measures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, ValidationError

from exporter.build import Frozen
from exporter.errors import RecipeError
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE
from exporter.settings import read_toml

__all__ = ["Budget", "DeviceLimit", "Limits", "Section", "load_budget"]

_SECTIONS: Final = "limits"


class DeviceLimit(Frozen):
    """A time limit in ms on one device, by the name that `bench.json` gives it."""

    device: str
    limit_ms: float


def _by_device(value: object) -> object:
    """`{ local = "2 ms" }` to one `DeviceLimit` a device."""
    if not isinstance(value, Mapping):
        raise ValueError(  # pydantic makes an error of its own only out of a ValueError
            'expected one limit a device such as { local = "2 ms" }, '
            f"found {value!r} without a device"
        )
    if not value:
        raise ValueError('expected at least one device such as { local = "2 ms" }, found none')
    limits = []
    for device, written in value.items():
        try:
            limits.append(DeviceLimit(device=str(device), limit_ms=MILLISECONDS.parse(written)))
        except ValueError as error:
            raise ValueError(f"device {device!r}: {error}") from None
    return tuple(limits)


def _clean(value: object) -> object:
    if value != "clean":
        raise ValueError(f'expected "clean", the only verdict to ask for, found {value!r}')
    return value


# Optional fields: TOML has no null, so the validators never see None.
Bytes = Annotated[int | None, BeforeValidator(BYTES.parse)]
Milliseconds = Annotated[float | None, BeforeValidator(MILLISECONDS.parse)]
Points = Annotated[float | None, BeforeValidator(POINTS.parse)]
Share = Annotated[float | None, BeforeValidator(SHARE.parse)]
Ratio = Annotated[float | None, BeforeValidator(RATIO.parse)]
Times = Annotated[tuple[DeviceLimit, ...], BeforeValidator(_by_device)]
CleanOnly = Annotated[Literal["clean"] | None, BeforeValidator(_clean)]


class Limits(Frozen):
    """What the artifacts of one section must keep to; None or empty where nothing is asked.

    Bytes, milliseconds, percentage points and shares in [0, 1]. `accuracy` and
    `compression_ratio` are lower bounds, the others upper bounds.
    """

    file_bytes: Bytes = None
    package_bytes: Bytes = None
    compression_ratio: Ratio = None
    accuracy: Share = None
    accuracy_drop: Points = None
    peak_memory: Bytes = None
    load: Milliseconds = None
    latency_p50: Times = ()
    latency_p90: Times = ()
    latency_p99: Times = ()
    certificate: CleanOnly = None


class Section(Frozen):
    """The limits of every artifact whose file name matches `pattern`."""

    pattern: str
    limits: Limits


class Budget(Frozen):
    """A budget file: sections in the order in which they are written."""

    sections: tuple[Section, ...]


def load_budget(path: Path) -> Budget:
    """Read and validate a budget.

    Raises:
        RecipeError: the file is missing, is no TOML, names an unknown key, gives a value of the
            wrong kind, or limits nothing.
    """
    document = read_toml(
        path, "budget", hint='quote a glob in a table\'s name: [limits."*.int8.tflite"]'
    )
    unknown = next((key for key in document if key != _SECTIONS), None)
    if unknown is not None:
        raise _unknown_key(path, unknown, "the top level", [_SECTIONS])
    tables = document.get(_SECTIONS, {})
    if not isinstance(tables, dict) or not tables:
        raise RecipeError(
            f"{path} limits nothing",
            expected='at least one section such as [limits."*.int8.tflite"]',
            found="none" if not tables else f"limits = {tables!r}",
            remedy="`edgewright init` writes a budget to start from",
        )
    return Budget(
        sections=tuple(_section(path, str(pattern), table) for pattern, table in tables.items())
    )


def _section(path: Path, pattern: str, table: object) -> Section:
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
        return Section(pattern=pattern, limits=Limits.model_validate(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        reason = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{path}: {key} in {where}: {reason}") from None


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
