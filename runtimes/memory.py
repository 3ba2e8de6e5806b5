"""The memory of this process, in bytes: resident now, its peak since a reset, and its share (PSS).

Linux tells all three in /proc. Elsewhere (macOS) only getrusage's peak over the whole life of the
process is known: it stands for both, and the notes say so.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

PROC_SELF = Path("/proc/self")


@dataclass(frozen=True)
class Memory:
    """Resident bytes now, and at their peak since the last reset. 0 is unknown."""

    resident_bytes: int
    peak_bytes: int


def parse_kib(text: str, key: str) -> int | None:
    """The bytes of a `Key:   123 kB` line (the kernel's kB are KiB); None if there is none."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == key and len(words) == 2 and words[0].isdigit() and words[1] == "kB":
            return int(words[0]) * 1024
    return None


class MemoryMeter:
    """Reads this process's memory; `notes` tells where the figures are less than they seem."""

    def __init__(self, proc: Path = PROC_SELF) -> None:
        self._proc = proc
        self.notes: list[str] = []

    def read(self) -> Memory:
        """Memory now and at its peak."""
        status = self._text("status")
        resident, peak = parse_kib(status, "VmRSS"), parse_kib(status, "VmHWM")
        if resident is not None and peak is not None:
            return Memory(resident, peak)
        peak_ever = _getrusage_peak_bytes()
        self._note(
            "memory is getrusage's peak over the whole process: it stands for every memory figure"
            if peak_ever
            else "memory is unknown on this system: 0 stands for it"
        )
        return Memory(peak_ever, peak_ever)

    def reset_peak(self) -> None:
        """Let the peak start again from what is resident now (Linux; needs no root)."""
        try:
            (self._proc / "clear_refs").write_text("5", encoding="ascii")
        except OSError:
            self._note("the memory peak cannot be reset here: inference's includes loading's")

    def pss_bytes(self) -> int | None:
        """The proportional set size: pages shared with other processes count by their share."""
        return parse_kib(self._text("smaps_rollup"), "Pss")

    def _text(self, name: str) -> str:
        try:
            return (self._proc / name).read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _getrusage_peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2): bytes on macOS, KiB on Linux and the BSDs.
    return peak if sys.platform == "darwin" else peak * 1024
