"""Every error that edgewright raises on purpose.

EdgewrightError             exit code 2   (runtimes.errors)
├── PackageError            2  a .ewp package is damaged or hostile
├── ModelError              2  an interpreter refuses a file
├── MissingRuntimeError     2  an interpreter, or an extra of edgewright, is not installed
├── DeviceError             3  device or link failed (devices.errors has its kinds)
├── RecipeError             2  a recipe or budget does not validate
├── BuildError              2  a build directory is incomplete or damaged
├── UnsupportedError        2  a node that cannot be exported: names it, the reason, the remedy
├── EmulationError          3  a CPU cannot be emulated here: the emulator or its root is missing
├── WeightError             2  a parameter of a model is NaN or infinite; the message names it
├── DivergedError           2  training ended in a loss that is not finite; a FloatingPointError too
└── CanonicalError          2  a graph breaks an invariant of the canonical form
"""

from __future__ import annotations

from typing import Final

from devices.errors import DeviceError
from runtimes.errors import EdgewrightError, MissingRuntimeError, ModelError, PackageError

__all__ = [
    "BuildError",
    "CanonicalError",
    "DivergedError",
    "EdgewrightError",
    "EmulationError",
    "MissingRuntimeError",
    "ModelError",
    "PackageError",
    "RecipeError",
    "UnsupportedError",
    "WeightError",
]

INSTALL_EXPORT: Final = "in edgewright's clone: pip install -c constraints.txt '.[export]'"
"""What brings the packages that a light install lacks."""


class RecipeError(EdgewrightError):
    """A recipe, budget or other settings file does not validate."""


class BuildError(EdgewrightError):
    """A build directory lacks a file, or a file is not what its manifest says."""


class UnsupportedError(EdgewrightError):
    """A node that cannot be brought to the shipped form.

    Args:
        node: the node's name, as the model or graph calls it.
        operator: its operator.
        reason: why it cannot be exported.
        remedy: what the user can do about it.
    """

    def __init__(self, node: str, operator: str, reason: str, remedy: str) -> None:
        super().__init__(f"{operator} '{node}' cannot be exported: {reason}", remedy=remedy)
        self.node = node
        self.operator = operator
        self.reason = reason


class WeightError(EdgewrightError):
    """A parameter of a model cannot be worked with; the message names it."""


class DivergedError(EdgewrightError, FloatingPointError):
    """The loss of a training step is NaN or infinite."""


class CanonicalError(EdgewrightError):
    """A graph breaks an invariant of the canonical form; the message names node and rule."""


class EmulationError(DeviceError):
    """A CPU cannot be emulated on this machine: the emulator, or a root for it, is missing."""
