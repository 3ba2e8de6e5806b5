"""The root of every error that edgewright raises on purpose, and those of the device side.

    EdgewrightError                 exit code 2: bad input or usage
    ├── PackageError                a .ewp package is damaged, hostile or of another version
    ├── ModelError                  an interpreter refuses or crashes on a model or its inputs
    └── MissingRuntimeError         no interpreter for this kind of file is installed

The layers above derive from the same root: see `devices.errors` and `exporter.errors`.
"""

from __future__ import annotations


class EdgewrightError(Exception):
    """An error with what was expected, what was found and what to do about it.

    Attributes:
        exit_code: what the command line returns for it (0 good, 1 verdict is no, 2 bad input,
            3 device or link failed).
    """

    exit_code = 2

    def __init__(
        self, problem: str, *, expected: str = "", found: str = "", remedy: str = ""
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.problem]
        for label, text in (
            ("expected", self.expected),
            ("found", self.found),
            ("to do", self.remedy),
        ):
            if text:
                lines.append(f"  {label + ':':<10}{text}")
        return "\n".join(lines)


class PackageError(EdgewrightError):
    """A .ewp package is truncated, altered, hostile, or of a version that this reader lacks."""


class ModelError(EdgewrightError):
    """An interpreter refuses a model file, or its inputs do not fit it."""


class MissingRuntimeError(EdgewrightError):
    """No installed interpreter can run this kind of file."""
