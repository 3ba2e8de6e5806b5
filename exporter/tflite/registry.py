"""Which function lowers which operator. An op is one small function with `@lowers("Kind")`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.graph.model import Operator
    from exporter.tflite.context import Lowering

Lower = Callable[["Lowering", "Operator"], None]

_LOWERINGS: dict[str, Lower] = {}


def lowers(*kinds: str) -> Callable[[Lower], Lower]:
    """Register a function for operators of these kinds; return it unchanged.

    Raises:
        ValueError: a kind that has a function already.
    """

    def register(function: Lower) -> Lower:
        for kind in kinds:
            if kind in _LOWERINGS:
                raise ValueError(f"{kind} is lowered by {_LOWERINGS[kind].__module__} already")
            _LOWERINGS[kind] = function
        return function

    return register


def lowering_of(kind: str) -> Lower | None:
    """The function for this kind, if there is one."""
    return _LOWERINGS.get(kind)


def kinds() -> tuple[str, ...]:
    """Every kind that can be lowered, sorted."""
    return tuple(sorted(_LOWERINGS))
