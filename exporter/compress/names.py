"""Names of layers in recipes: those that are left alone, and values of single layers."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from exporter.errors import RecipeError

NEAR = 3


def check_exempt(layers: Collection[str], exempt: Iterable[str]) -> None:
    """Refuse an exempt name that is none of the model's layers.

    Raises:
        RecipeError: with the first such name, and those that are near or all that there are.
    """
    unknown = sorted(set(exempt) - set(layers))
    if unknown:
        raise RecipeError(
            f"exempt layer '{unknown[0]}' is no convolution or dense layer of the model",
            expected=f"names among: {', '.join(layers) or 'none'}",
            found=unknown[0],
            remedy=_near(unknown[0], layers),
        )


def values_by_layer(
    patterns: Mapping[str, float], layers: Collection[str], what: str
) -> dict[str, float]:
    """The value of each layer that a pattern matches.

    A pattern is a layer's name, or has `*`, `?` and `[...]` as file names have; `*` matches dots as
    well. A layer's own name goes before patterns.

    Args:
        patterns: values by pattern.
        layers: the names that there are.
        what: the patterns are called in messages, such as "[prune.layers]".

    Raises:
        RecipeError: a pattern that matches no layer, or two that give one layer two values.
    """
    found: dict[str, float] = {}
    by: dict[str, str] = {}
    for pattern, value in patterns.items():
        matched = [name for name in layers if name == pattern or fnmatchcase(name, pattern)]
        if not matched:
            raise RecipeError(
                f"{what}: '{pattern}' is no layer that takes part",
                expected=f"a name, or a pattern that matches one, among: {', '.join(layers)}",
                found=pattern,
                remedy=_near(pattern, layers)
                or "exempt and frozen layers take no part: take them out of one of the two",
            )
        for name in matched:
            if by.get(name) == name:
                continue
            if name in by and name != pattern and found[name] != value:
                raise RecipeError(
                    f"{what}: two patterns give layer '{name}' two values",
                    found=f"'{by[name]}' = {found[name]:g} and '{pattern}' = {value:g}",
                    remedy=f'name the layer itself: "{name}" = ...',
                )
            found[name], by[name] = value, pattern
    return found


def _near(name: str, layers: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(layers), n=NEAR, cutoff=0.5)
    return f"did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
