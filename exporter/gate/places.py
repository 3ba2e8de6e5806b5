"""On which line of a budget each limit stands, so that a CI server can point there.

The TOML reader tells no lines. This looks for table headers and keys at the start of a line, which
is how budgets are written; what it does not find has no line, and nothing depends on it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["places"]

_KEY: Final = re.compile(r"""\s*(?P<quote>["']?)(?P<name>[^"'=]+?)(?P=quote)\s*=""")
_HEADER: Final = re.compile(
    r"""\s*\[\s*(?P<table>[\w-]+)\s*\.\s*(?P<quote>["'])(?P<name>.*?)(?P=quote)\s*\]"""
)


def places(text: str, table: str) -> dict[str, dict[str, int]]:
    """Lines, from 1, by section and key; each section's own header under the key ""."""
    found: dict[str, dict[str, int]] = {}
    section: dict[str, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            inside = header["table"] == table
            section = found.setdefault(header["name"], {"": number}) if inside else None
        elif line.lstrip().startswith("["):
            section = None
        elif section is not None and (key := _KEY.match(line)) is not None:
            section.setdefault(key["name"], number)
    return found
