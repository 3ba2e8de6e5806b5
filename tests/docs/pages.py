"""Reads the fenced blocks of a Markdown page, for running them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from exporter.gate.units import TIMES
from exporter.gate.verdict import NOTHING

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block. `name` is the file that it is, from a first line `# name.py`."""

    language: str
    text: str
    line: int
    name: str | None = None


@dataclass(frozen=True)
class Step:
    """One command of a console block, and the output that the page shows for it."""

    argv: tuple[str, ...]
    output: tuple[str, ...]


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        name = _NAMED.match(match[2])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], match[2], line, name[1] if name else None))
    return found


def steps(block: Block) -> list[Step]:
    """The commands of a console block: `$ command`, continued behind a backslash, then output."""
    joined = block.text.replace("\\\n", " ")
    found: list[tuple[str, list[str]]] = []
    for line in joined.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"output without a command before it: {line!r}")
    return [Step(tuple(shlex.split(command, comments=True)), tuple(out)) for command, out in found]


_UNIT = f"%|µs|ms|s|B|kB|MB|pt|{TIMES}"
_NUMBER = rf"(?:[~+≤≥-]\s?)?\d[\d.,]*(?:e-?\d+)?(?:\s?(?:{_UNIT})(?!\w))?"
_SHAPES = (
    (re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12}\b"), "HASH"),
    (re.compile(r"[✓✗]"), "MARK"),
    (re.compile(_NUMBER), "N"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"\s+"), " "),
)


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, hashes, marks, the width of columns."""
    for pattern, text in _SHAPES:
        line = pattern.sub(text, line)
    return line.replace(f" {NOTHING} ", " N ").strip()


def missing_line(shown: tuple[str, ...], printed: str) -> str | None:
    """The first line of a page's output that did not come, in order; None if all did.

    A line of dots stands for any lines; dots inside a line for any text. A page may leave out the
    end of a line that is long.
    """
    lines = iter([shape(line) for line in printed.splitlines()])
    for line in shown:
        wanted = shape(line)
        if wanted in ("", "...", "…"):
            continue
        pattern = re.compile(re.escape(wanted).replace(r"\.\.\.", ".*") + r"(?!\w)")
        if not any(pattern.match(candidate) for candidate in lines):
            return line
    return None
